"""What a configuration may say: names, ranges, and combinations that make sense.

Whether files exist is checked where they are opened.
"""
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lib.backbone import BACKBONES
from lib.config.node import Config
from lib.core.combiner import COMBINERS
from lib.data_transform import TRANSFORMS
from lib.dataset import DATASETS, SAMPLERS
from lib.dataset.sampler import bbn, weighted
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, POOLINGS
from lib.utils.errors import InputError
from lib.utils.registry import closest

REGISTRIES = {
    "DATASET.DATASET": DATASETS, "BACKBONE.TYPE": BACKBONES, "MODULE.TYPE": POOLINGS, "CLASSIFIER.TYPE": CLASSIFIERS,
    "LOSS.LOSS_TYPE": LOSSES, "TRAIN.COMBINER.TYPE": COMBINERS, "TRAIN.SAMPLER.TYPE": SAMPLERS,
}
CHOICES = {
    "COLOR_SPACE": ("RGB", "BGR"), "RESUME_MODE": ("all", "state_dict"), "DATASET.IN_MEMORY": ("auto", "always", "never"),
    "DATASET.IMBALANCECIFAR.TYPE": ("exp", "step"), "TRAIN.MEMORY_FORMAT": ("channels_last", "contiguous"),
    "TRAIN.AMP_BACKEND": ("auto", "apex", "torch"), "TRAIN.OPTIMIZER.TYPE": ("SGD", "ADAM"),
    "TRAIN.LR_SCHEDULER.TYPE": ("multistep", "warmup", "cosine"), "TRAIN.SAMPLER.WEIGHTED_SAMPLER.TYPE": weighted.TYPES,
    "TRAIN.SAMPLER.BBN_SAMPLER.TYPE": bbn.TYPES,
}
AT_LEAST_ONE = ("VALID_STEP", "SAVE_STEP", "SHOW_STEP", "TRAIN.BATCH_SIZE", "TRAIN.MAX_EPOCH", "TEST.BATCH_SIZE")
NOT_NEGATIVE = (
    "SEED", "TRAIN.NUM_WORKERS", "TRAIN.NUM_THREADS", "TEST.NUM_WORKERS", "TRAIN.TWO_STAGE.START_EPOCH",
    "TRAIN.LR_SCHEDULER.WARM_EPOCH", "TRAIN.LR_SCHEDULER.COSINE_DECAY_END", "TRAIN.OPTIMIZER.WEIGHT_DECAY",
    "DATASET.CAM_NUMBER_THRES", "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING", "LOSS.CostSensitiveCE.GAMMA",
    "LOSS.LDAMLoss.MAX_MARGIN", "TEST.TAU_NORM.TAU",
)
POSITIVE = ("TRAIN.OPTIMIZER.BASE_LR", "TRAIN.LR_SCHEDULER.LR_FACTOR", "TRAIN.COMBINER.ALPHA", "LOSS.LDAMLoss.SCALE")
LATER = ("DATASET.GENERATE_CAM_BASED_DATASET", "DATASET.USE_CAM_BASED_DATASET")


def validate(cfg: Config) -> list[str]:
    """Everything that is wrong, a line each, beginning with the full key."""
    return [*names(cfg), *ranges(cfg), *combinations(cfg)]


def names(cfg: Config) -> Iterator[str]:
    values = cfg.flat()
    for key, registry in REGISTRIES.items():
        if values[key] not in registry:
            yield f"{key}: unknown {registry.family} {values[key]!r}; {closest(values[key], registry)}"
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            yield f"{key}: {values[key]!r} is none of {', '.join(choices)}"
    for key in ("TRANSFORMS.TRAIN_TRANSFORMS", "TRANSFORMS.TEST_TRANSFORMS"):
        for name in values[key]:
            if name not in TRANSFORMS:
                yield f"{key}: unknown transform {name!r}; {closest(str(name), TRANSFORMS)}"
    if not cfg.NAME or "/" in cfg.NAME or cfg.NAME in (".", ".."):
        yield f"NAME: {cfg.NAME!r} is not the name of a folder; OUTPUT_DIR says where it is"


def ranges(cfg: Config) -> Iterator[str]:
    values = cfg.flat()
    for key in values:
        if isinstance(values[key], float) and not math.isfinite(values[key]):
            yield f"{key}: {values[key]} is no number to compute with"
    yield from (f"{key}: must be at least 1, got {values[key]}" for key in AT_LEAST_ONE if values[key] < 1)
    yield from (f"{key}: must not be negative, got {values[key]}" for key in NOT_NEGATIVE if values[key] < 0)
    yield from (f"{key}: must be above 0, got {values[key]}" for key in POSITIVE if values[key] <= 0)
    if not 0 < cfg.DATASET.IMBALANCECIFAR.RATIO <= 1:
        yield f"DATASET.IMBALANCECIFAR.RATIO: must be above 0 and at most 1, got {cfg.DATASET.IMBALANCECIFAR.RATIO}"
    if not 0 <= cfg.DATASET.IMBALANCECIFAR.RANDOM_SEED < 2**32:
        yield f"DATASET.IMBALANCECIFAR.RANDOM_SEED: must be in [0, 2^32), got {cfg.DATASET.IMBALANCECIFAR.RANDOM_SEED}"
    if not 0 <= cfg.TRAIN.OPTIMIZER.MOMENTUM < 1:
        yield f"TRAIN.OPTIMIZER.MOMENTUM: must be in [0, 1), got {cfg.TRAIN.OPTIMIZER.MOMENTUM}"
    steps = cfg.TRAIN.LR_SCHEDULER.LR_STEP
    if steps != sorted(set(steps)) or (steps and steps[0] < 1):
        yield f"TRAIN.LR_SCHEDULER.LR_STEP: must be ascending epochs from 1 on, got {steps}"
    if len(cfg.INPUT_SIZE) != 2 or min(cfg.INPUT_SIZE, default=0) < 1:
        yield f"INPUT_SIZE: must be height and width, such as [32, 32], got {cfg.INPUT_SIZE}"
    for key in ("DATASET.MEAN", "DATASET.STD"):
        lowest = 0 if key.endswith("STD") else -math.inf
        numbers = all(is_number(value) and value > lowest for value in values[key])
        if len(values[key]) not in (0, 3) or not numbers:
            yield f"{key}: must be empty or three numbers, R G B, in units of [0, 1], got {values[key]}"
    yield from pair_ranges(cfg)
    if not all(is_number(tau) and 0 <= tau < math.inf for tau in cfg.TEST.TAU_NORM.SWEEP):
        yield f"TEST.TAU_NORM.SWEEP: must be numbers, none negative, such as [0, 0.5, 1], got {cfg.TEST.TAU_NORM.SWEEP}"


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def pair_ranges(cfg: Config) -> Iterator[str]:
    section = "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP"
    detail = cfg.TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP
    for key, pair, high in (("SCALE", detail.SCALE, 1), ("RATIO", detail.RATIO, math.inf)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= high:
            yield f"{section}.{key}: must be a lower and an upper bound above 0{' and at most 1' * (high == 1)}, got {pair}"


def combinations(cfg: Config) -> Iterator[str]:
    for key in LATER:
        if cfg.flat()[key]:
            yield f"{key}: is not there yet; set it to False"
    yield from paths(cfg)
    yield from stages(cfg)
    yield from classifiers(cfg)
    combiner, sampler, loss = cfg.TRAIN.COMBINER.TYPE, cfg.TRAIN.SAMPLER.TYPE, cfg.LOSS.LOSS_TYPE
    if combiner in COMBINERS and COMBINERS[combiner].sampler not in (None, sampler):
        yield (f"TRAIN.COMBINER.TYPE: {combiner} mixes the rows of TRAIN.SAMPLER.TYPE {COMBINERS[combiner].sampler!r}, "
               f"got {sampler!r}")
    classifier = LOSSES[loss].needs_classifier if loss in LOSSES else None
    if classifier not in (None, cfg.CLASSIFIER.TYPE):
        yield f"LOSS.LOSS_TYPE: {loss} needs CLASSIFIER.TYPE {classifier}, got {cfg.CLASSIFIER.TYPE}"
    if cfg.BACKBONE.TYPE in BACKBONES and len(cfg.INPUT_SIZE) == 2:
        yield from fits(cfg.BACKBONE.TYPE, cfg.INPUT_SIZE)


def fits(backbone: str, size: Sequence[Any]) -> Iterator[str]:
    try:
        with torch.device("meta"):   # no memory, no initialisation
            BACKBONES[backbone]().check_input(tuple(size))
    except InputError as error:
        yield str(error)


def paths(cfg: Config) -> Iterator[str]:
    if cfg.NETWORK.PRETRAINED and not cfg.NETWORK.PRETRAINED_MODEL:
        yield "NETWORK.PRETRAINED: is True, so NETWORK.PRETRAINED_MODEL must name a checkpoint"


def classifiers(cfg: Config) -> Iterator[str]:
    """What the second stages cRT and LWS need, and what tau-normalization does."""
    name, tau_norm = cfg.CLASSIFIER.TYPE, cfg.TEST.TAU_NORM
    second_stage = name in CLASSIFIERS and CLASSIFIERS[name].second_stage
    if second_stage and not (cfg.NETWORK.PRETRAINED or cfg.RESUME_MODEL):
        yield (f"CLASSIFIER.TYPE: {name} is the second stage of a trained network; set NETWORK.PRETRAINED to True and "
               "NETWORK.PRETRAINED_MODEL to its checkpoint")
    if cfg.BACKBONE.FREEZE_BN and not (cfg.BACKBONE.FREEZE or second_stage):
        yield "BACKBONE.FREEZE_BN: does something with BACKBONE.FREEZE True (or CLASSIFIER.TYPE cRT or LWS) only"
    if tau_norm.USE_TAU_NORM and name in CLASSIFIERS and CLASSIFIERS[name].why_no_tau_norm:
        yield f"TEST.TAU_NORM.USE_TAU_NORM: means nothing for CLASSIFIER.TYPE {name}, since {CLASSIFIERS[name].why_no_tau_norm}"
    if tau_norm.SWEEP and not tau_norm.USE_TAU_NORM:
        yield "TEST.TAU_NORM.SWEEP: does something with TEST.TAU_NORM.USE_TAU_NORM True only"


def stages(cfg: Config) -> Iterator[str]:
    stage, sampler, loss = cfg.TRAIN.TWO_STAGE, cfg.TRAIN.SAMPLER.TYPE, cfg.LOSS.LOSS_TYPE
    if (stage.DRW or stage.DRS) and stage.START_EPOCH >= cfg.TRAIN.MAX_EPOCH:
        yield (f"TRAIN.TWO_STAGE.START_EPOCH: the second stage begins after epoch {stage.START_EPOCH}, "
               f"and TRAIN.MAX_EPOCH is {cfg.TRAIN.MAX_EPOCH}")
    if stage.DRW and loss in LOSSES and not LOSSES[loss].deferrable:
        yield f"TRAIN.TWO_STAGE.DRW: {loss} has nothing to defer"
    if stage.DRS and sampler == "default":
        yield "TRAIN.TWO_STAGE.DRS: there is nothing to defer with TRAIN.SAMPLER.TYPE default; take 'weighted sampler'"
    if stage.DRS and sampler == "bbn sampler":
        yield "TRAIN.TWO_STAGE.DRS: cannot begin a 'bbn sampler', whose batches have two rows; take 'weighted sampler'"
    if not cfg.TRAIN.SHUFFLE and (sampler != "default" or stage.DRS):
        yield f"TRAIN.SHUFFLE: False keeps the order of the data set, which TRAIN.SAMPLER.TYPE {sampler!r} does not have"
