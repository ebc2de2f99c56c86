"""What a configuration may say: names, ranges, and combinations that make sense.

Whether files exist is checked where they are opened.
"""
from collections.abc import Iterator

from lib.backbone import BACKBONES, Backbone, on_meta
from lib.combiner import COMBINERS
from lib.config import data_sets, paths, ranges
from lib.config.literals import short
from lib.config.node import Config
from lib.data_transform import TRANSFORMS
from lib.dataset import DATASETS, SAMPLERS
from lib.dataset.folder import LAYOUTS
from lib.dataset.rgb import ALPHAS
from lib.dataset.sampler import bbn, weighted
from lib.engine.optimizer import OPTIMIZERS
from lib.loss import LOSSES, label_aware_smooth
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import mix_locations
from lib.report.metrics import BEST_BY
from lib.utils.errors import InputError
from lib.utils.registry import closest
from lib.utils.schedule import SCHEDULES

REGISTRIES = {
    "DATASET.DATASET": DATASETS, "BACKBONE.TYPE": BACKBONES, "MODULE.TYPE": POOLINGS, "CLASSIFIER.TYPE": CLASSIFIERS,
    "LOSS.LOSS_TYPE": LOSSES, "LOSS.DiVEKLD.BASELOSS": LOSSES, "TRAIN.COMBINER.TYPE": COMBINERS, "TRAIN.SAMPLER.TYPE": SAMPLERS,
    "TRAIN.OPTIMIZER.TYPE": OPTIMIZERS, "TRAIN.LR_SCHEDULER.TYPE": SCHEDULES,
}
CHOICES = {
    "COLOR_SPACE": ("RGB", "BGR"), "RESUME_MODE": ("all", "state_dict"), "DATASET.IN_MEMORY": ("auto", "always", "never"),
    "DATASET.ON_BAD_IMAGE": ("error", "skip"), "DATASET.ALPHA": ALPHAS, "DATASET.FOLDER.LAYOUT": LAYOUTS,
    "DATASET.IMBALANCECIFAR.TYPE": ("exp", "step"), "TRAIN.MEMORY_FORMAT": ("channels_last", "contiguous"),
    "TEST.BEST_BY": tuple(BEST_BY), "TEST.PART": ("valid", "test"),
    "TRAIN.AMP_BACKEND": ("auto", "apex", "torch"),
    "TRAIN.SAMPLER.WEIGHTED_SAMPLER.TYPE": weighted.TYPES,
    "TRAIN.SAMPLER.BBN_SAMPLER.TYPE": bbn.TYPES, "LOSS.CrossEntropyLabelAwareSmooth.SHAPE": label_aware_smooth.SHAPES,
}


def validate(cfg: Config) -> list[str]:
    """Everything that is wrong, a line each, beginning with the full key."""
    return [*names(cfg), *paths.problems(cfg), *ranges.problems(cfg), *combinations(cfg)]


def names(cfg: Config) -> Iterator[str]:
    values = cfg.flat()
    for key, registry in REGISTRIES.items():
        if values[key] not in registry:
            yield f"{key}: unknown {registry.family} {short.repr(values[key])}; {closest(values[key], registry)}"
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            yield f"{key}: {short.repr(values[key])} is none of {', '.join(choices)}"
    for key in ("TRANSFORMS.TRAIN_TRANSFORMS", "TRANSFORMS.TEST_TRANSFORMS"):
        for name in values[key]:
            if not isinstance(name, str) or name not in TRANSFORMS:
                yield f"{key}: unknown transform {short.repr(name)}; {closest(str(name), TRANSFORMS)}"


def combinations(cfg: Config) -> Iterator[str]:
    yield from data_sets.annotations(cfg)
    yield from data_sets.folders(cfg)
    yield from checkpoints(cfg)
    yield from stages(cfg)
    yield from schedules(cfg)
    yield from classifiers(cfg)
    yield from data_sets.cam_sampling(cfg)
    yield from losses(cfg)
    yield from mixing(cfg)
    if cfg.TEST.FEW_SHOT > cfg.TEST.MANY_SHOT:
        yield (f"TEST.FEW_SHOT: {cfg.TEST.FEW_SHOT} is above TEST.MANY_SHOT {cfg.TEST.MANY_SHOT}, so that a class "
               "with a number of images between them would be both")
    if cfg.BACKBONE.TYPE in BACKBONES and not any(ranges.sides(cfg.INPUT_SIZE)):
        yield from fits(cfg)


def fits(cfg: Config) -> Iterator[str]:
    """What must agree with the backbone."""
    name = cfg.BACKBONE.TIMM.MODEL if cfg.BACKBONE.TYPE == "timm" else cfg.BACKBONE.TYPE
    try:
        backbone = skeleton(cfg)
    except InputError as error:
        yield str(error)
        return
    location, locations = cfg.TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION, mix_locations(backbone)
    if cfg.TRAIN.COMBINER.TYPE == "manifold_mix_up" and location not in locations:
        yield f"TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION: {name} has no {location!r}; it has {', '.join(locations)}"
    if cfg.DATASET.GENERATE_CAM_BASED_DATASET and not backbone.has_maps:
        yield (f"DATASET.GENERATE_CAM_BASED_DATASET: {name} ends with a pooling of its own, so there are no feature maps of "
               "which class activation maps could be made; ResNets of BACKBONE.TYPE have them")


def skeleton(cfg: Config) -> Backbone:
    """The backbone without memory for its parameters. Raises InputError for an INPUT_SIZE that it cannot take."""
    size = tuple(cfg.INPUT_SIZE)
    options = BACKBONES.arguments(cfg.BACKBONE.TYPE, {**cfg.BACKBONE, "INPUT_SIZE": size})
    backbone = on_meta(BACKBONES[cfg.BACKBONE.TYPE], tuple(options.items()))
    backbone.check_input(size)
    return backbone


def mixing(cfg: Config) -> Iterator[str]:
    """What must agree with the combiner."""
    name, sampler, loss = cfg.TRAIN.COMBINER.TYPE, cfg.TRAIN.SAMPLER.TYPE, cfg.LOSS.LOSS_TYPE
    if name not in COMBINERS:
        return
    combiner = COMBINERS[name]
    if combiner.sampler not in (None, sampler):
        yield f"TRAIN.COMBINER.TYPE: {name} mixes the rows of TRAIN.SAMPLER.TYPE {combiner.sampler!r}, got {sampler!r}"
    if combiner.needs_loss not in (None, loss):
        yield f"TRAIN.COMBINER.TYPE: {name} needs LOSS.LOSS_TYPE {combiner.needs_loss}, got {loss}"


def checkpoints(cfg: Config) -> Iterator[str]:
    if cfg.NETWORK.PRETRAINED and not cfg.NETWORK.PRETRAINED_MODEL:
        yield "NETWORK.PRETRAINED: is True, so NETWORK.PRETRAINED_MODEL must name a checkpoint"
    if cfg.TRAIN.COMBINER.TYPE == "dive" and not cfg.TRAIN.COMBINER.DIVE.TEACHER_MODEL:
        yield "TRAIN.COMBINER.DIVE.TEACHER_MODEL: must name the teacher's checkpoint, a name in the run's models/ or a path"


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


def losses(cfg: Config) -> Iterator[str]:
    """What the loss, and the base loss of DiVEKLD, ask of the rest."""
    combiner, loss, base = cfg.TRAIN.COMBINER.TYPE, cfg.LOSS.LOSS_TYPE, cfg.LOSS.DiVEKLD.BASELOSS
    if base == "DiVEKLD":
        yield "LOSS.DiVEKLD.BASELOSS: DiVEKLD stands beside another loss, such as BalancedSoftmaxCE"
    if loss in LOSSES and LOSSES[loss].needs_combiner not in (None, combiner):
        yield f"LOSS.LOSS_TYPE: {loss} needs TRAIN.COMBINER.TYPE {LOSSES[loss].needs_combiner}, got {combiner}"
    used = {"LOSS.LOSS_TYPE": loss, "LOSS.DiVEKLD.BASELOSS": base if loss == "DiVEKLD" else None}
    for key, name in used.items():
        if name in LOSSES and LOSSES[name].needs_classifier not in (None, cfg.CLASSIFIER.TYPE):
            yield f"{key}: {name} needs CLASSIFIER.TYPE {LOSSES[name].needs_classifier}, got {cfg.CLASSIFIER.TYPE}"
        if cfg.TRAIN.TWO_STAGE.DRW and name in LOSSES and not LOSSES[name].deferrable:
            yield f"TRAIN.TWO_STAGE.DRW: {name} has nothing to defer"


def schedules(cfg: Config) -> Iterator[str]:
    options = cfg.TRAIN.LR_SCHEDULER
    last = options.COSINE_DECAY_END or cfg.TRAIN.MAX_EPOCH
    if options.TYPE == "warmup_cosine" and last <= options.WARM_EPOCH:
        yield f"TRAIN.LR_SCHEDULER.WARM_EPOCH: the climb takes {options.WARM_EPOCH} epochs, and the cosine ends at epoch {last}"


def stages(cfg: Config) -> Iterator[str]:
    stage, sampler = cfg.TRAIN.TWO_STAGE, cfg.TRAIN.SAMPLER.TYPE
    if (stage.DRW or stage.DRS) and stage.START_EPOCH >= cfg.TRAIN.MAX_EPOCH:
        yield (f"TRAIN.TWO_STAGE.START_EPOCH: the second stage begins after epoch {stage.START_EPOCH}, "
               f"and TRAIN.MAX_EPOCH is {cfg.TRAIN.MAX_EPOCH}")
    if stage.DRS and sampler == "default":
        yield "TRAIN.TWO_STAGE.DRS: there is nothing to defer with TRAIN.SAMPLER.TYPE default; take 'weighted sampler'"
    if stage.DRS and sampler == "bbn sampler":
        yield "TRAIN.TWO_STAGE.DRS: cannot begin a 'bbn sampler', whose batches have two rows; take 'weighted sampler'"
    if not cfg.TRAIN.SHUFFLE and (sampler != "default" or stage.DRS):
        yield f"TRAIN.SHUFFLE: False keeps the order of the data set, which TRAIN.SAMPLER.TYPE {sampler!r} does not have"
