"""Checks a configuration: names, ranges, and combinations of values.

Whether files exist is checked where they are opened.
"""
from collections.abc import Iterator, Sequence
from typing import Any

from lib.backbone import BACKBONES, Backbone, on_meta
from lib.config import data_sets, paths, ranges
from lib.config.default import TREE
from lib.config.families import TYPES, declarations, declared
from lib.config.literals import short
from lib.config.needs import needs
from lib.config.node import Config
from lib.data_transform import TRANSFORMS
from lib.dataset import SAMPLERS
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, HEADS
from lib.net import mix_locations
from lib.report.metrics import BEST_BY
from lib.report.priors import FORMS, UNIFORM, looks_like_a_file, parse_shift
from lib.utils.errors import InputError
from lib.utils.options import Choice, FromCheckpoint
from lib.utils.registry import Registry, closest

REGISTRIES = {**TYPES, **declared(TREE, Registry)}
CHOICES = {
    **declared(TREE, Choice),
    "COLOR_SPACE": ("RGB", "BGR"), "RESUME_MODE": ("all", "state_dict"), "DATASET.IN_MEMORY": ("auto", "always", "never"),
    "TRAIN.MEMORY_FORMAT": ("channels_last", "contiguous"), "TEST.BEST_BY": tuple(BEST_BY), "TEST.PART": ("valid", "test"),
    "TRAIN.AMP_BACKEND": ("auto", "apex", "torch"), "TRAIN.AMP_DTYPE": ("auto", "float16", "bfloat16"),
}
NAMES = {   # lists of names
    "TRANSFORMS.TRAIN_TRANSFORMS": TRANSFORMS, "TRANSFORMS.TEST_TRANSFORMS": TRANSFORMS, "HEADS.TYPES": HEADS,
    "TEST.AGGREGATION.TRANSFORMS": TRANSFORMS,
}


def validate(cfg: Config) -> list[str]:
    """Lists all mistakes, a line each, beginning with the full key."""
    return [*names(cfg), *paths.problems(cfg), *ranges.problems(cfg), *combinations(cfg)]


def names(cfg: Config) -> Iterator[str]:
    values = cfg.flat()
    for key, registry in REGISTRIES.items():
        if values[key] not in registry:
            yield f"{key}: unknown {registry.family} {short.repr(values[key])}; {closest(values[key], registry)}"
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            yield f"{key}: {short.repr(values[key])} is none of {', '.join(choices)}"
    for key, registry in NAMES.items():
        yield from listed(key, values[key], registry)
    for view in cfg.TRANSFORMS.VIEWS:
        if isinstance(view, list):
            yield from listed("TRANSFORMS.VIEWS", view, TRANSFORMS)
        else:
            yield (f"TRANSFORMS.VIEWS: must be a list of transforms for each view, such as "
                   f"[[random_crop, random_horizontal_flip]], got {short.repr(cfg.TRANSFORMS.VIEWS)}")


def listed(key: str, names: Sequence[Any], registry: Registry) -> Iterator[str]:
    for name in names:
        if not isinstance(name, str) or name not in registry:
            yield f"{key}: unknown {registry.family} {short.repr(name)}; {closest(str(name), registry)}"


def combinations(cfg: Config) -> Iterator[str]:
    yield from data_sets.annotations(cfg)
    yield from data_sets.folders(cfg)
    yield from checkpoints(cfg)
    yield from stages(cfg)
    yield from schedules(cfg)
    yield from classifiers(cfg)
    yield from priors(cfg)
    yield from data_sets.cam_sampling(cfg)
    yield from needs(cfg)
    yield from experts(cfg)
    if cfg.TEST.FEW_SHOT > cfg.TEST.MANY_SHOT:
        yield (f"TEST.FEW_SHOT: {cfg.TEST.FEW_SHOT} is above TEST.MANY_SHOT {cfg.TEST.MANY_SHOT}, so a class "
               "with a number of images between them would be both few-shot and many-shot")
    if cfg.BACKBONE.TYPE in BACKBONES and not any(ranges.sides(cfg.INPUT_SIZE)):
        yield from fits(cfg)


def fits(cfg: Config) -> Iterator[str]:
    """Checks the input size, the mixing location and CAM-based sampling against the backbone."""
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
        yield (f"DATASET.GENERATE_CAM_BASED_DATASET: {name} pools its features itself, so there are no feature maps to compute "
               "class activation maps from; use a ResNet of BACKBONE.TYPE")


def skeleton(cfg: Config) -> Backbone:
    """Builds the backbone on the meta device, without memory. Raises InputError for an INPUT_SIZE that it does not support."""
    size = tuple(cfg.INPUT_SIZE)
    options = BACKBONES.arguments(cfg.BACKBONE.TYPE, {**cfg.BACKBONE, "INPUT_SIZE": size})
    backbone = on_meta(BACKBONES[cfg.BACKBONE.TYPE], tuple(options.items()))
    backbone.check_input(size)
    return backbone


def experts(cfg: Config) -> Iterator[str]:
    options, backbone = cfg.NETWORK.EXPERTS, cfg.BACKBONE.TYPE
    if cfg.TEST.AGGREGATION.USE and options.NUM == 1:
        yield "TEST.AGGREGATION.USE: weighs the experts of a network, and NETWORK.EXPERTS.NUM is 1; 3 has experts"
    if options.NUM == 1:
        return
    if backbone in BACKBONES and not any(ranges.sides(cfg.INPUT_SIZE)) and backbone != "timm":
        found = skeleton(cfg)
        names = [name for name, _ in found.stages()][1:]
        if options.FROM not in ("auto", *names):
            yield f"NETWORK.EXPERTS.FROM: {backbone} has no stage {short.repr(options.FROM)}; choose auto, {', '.join(names)}"
    elif backbone == "timm":
        yield "NETWORK.EXPERTS.NUM: experts are not supported for models of timm; use a ResNet of BACKBONE.TYPE"


def checkpoints(cfg: Config) -> Iterator[str]:
    if cfg.NETWORK.PRETRAINED and not cfg.NETWORK.PRETRAINED_MODEL:
        yield "NETWORK.PRETRAINED: is True, so NETWORK.PRETRAINED_MODEL must name a checkpoint"
    values = cfg.flat()
    for key, node, name, network in declarations(TREE, FromCheckpoint):
        if values[f"{node}.TYPE"] == name and not values[key]:
            yield f"{key}: must name the checkpoint of {network.owner}, as a path or a file name in the run's models/"


def classifiers(cfg: Config) -> Iterator[str]:
    """Checks the requirements of second-stage classifiers and of tau-normalization."""
    name, tau_norm = cfg.CLASSIFIER.TYPE, cfg.TEST.TAU_NORM
    second_stage = name in CLASSIFIERS and CLASSIFIERS[name].second_stage
    if second_stage and not (cfg.NETWORK.PRETRAINED or cfg.RESUME_MODEL):
        yield (f"CLASSIFIER.TYPE: {name} is a second stage and needs a trained network; set NETWORK.PRETRAINED to True and "
               "NETWORK.PRETRAINED_MODEL to its checkpoint")
    if cfg.BACKBONE.FREEZE_BN and not (cfg.BACKBONE.FREEZE or second_stage):
        yield "BACKBONE.FREEZE_BN: has an effect only with BACKBONE.FREEZE True, or with a second stage as CLASSIFIER.TYPE"
    if tau_norm.USE_TAU_NORM and name in CLASSIFIERS and CLASSIFIERS[name].why_no_tau_norm:
        yield f"TEST.TAU_NORM.USE_TAU_NORM: has no use for CLASSIFIER.TYPE {name}, since {CLASSIFIERS[name].why_no_tau_norm}"
    if tau_norm.USE_TAU_NORM and cfg.NETWORK.EXPERTS.NUM > 1:
        yield ("TEST.TAU_NORM.USE_TAU_NORM: normalizes a single classifier, but with NETWORK.EXPERTS.NUM "
               f"{cfg.NETWORK.EXPERTS.NUM} each expert has its own")
    if tau_norm.SWEEP and not tau_norm.USE_TAU_NORM:
        yield "TEST.TAU_NORM.SWEEP: has an effect only with TEST.TAU_NORM.USE_TAU_NORM True"


def priors(cfg: Config) -> Iterator[str]:
    """Checks the post-hoc logit adjustments: removing the training prior, and adding a test prior."""
    options, loss = cfg.TEST, cfg.LOSS.LOSS_TYPE
    asked = [key for key, value in (("LOGIT_ADJUST", options.LOGIT_ADJUST), ("SWEEP", options.SWEEP)) if value]
    for key in asked:
        if loss in LOSSES and LOSSES[loss].prior_tau:
            yield (f"TEST.{key}: LOSS.LOSS_TYPE {loss} already adjusts the logits for the training prior, so it would be removed "
                   "twice; use TEST.PRIOR to add a known test prior")
    for key in (*asked, *(key for key in ("PRIOR", "SHIFTS") if options[key])):
        if options.TAU_NORM.USE_TAU_NORM:
            yield (f"TEST.{key}: adjusts the logits of the unchanged classifier, so it cannot be combined with "
                   "TEST.TAU_NORM.USE_TAU_NORM")
    try:
        shift = parse_shift(options.PRIOR)
    except InputError as error:
        yield str(error)
    else:
        if options.PRIOR and not (shift or options.PRIOR == UNIFORM or looks_like_a_file(options.PRIOR)):
            yield f"TEST.PRIOR: must be empty, {FORMS}; got {options.PRIOR!r}"


def schedules(cfg: Config) -> Iterator[str]:
    options = cfg.TRAIN.LR_SCHEDULER
    last = options.COSINE_DECAY_END or cfg.TRAIN.MAX_EPOCH
    if options.WARMUP_EPOCHS and options.TYPE in ("warmup", "warmup_cosine"):
        yield (f"TRAIN.LR_SCHEDULER.WARMUP_EPOCHS: must be 0, since TRAIN.LR_SCHEDULER.TYPE {options.TYPE} has its own warm-up "
               "of WARM_EPOCH epochs")
    if options.TYPE == "warmup_cosine" and last <= options.WARM_EPOCH:
        yield (f"TRAIN.LR_SCHEDULER.WARM_EPOCH: the warm-up takes {options.WARM_EPOCH} epochs, but the cosine decay ends at "
               f"epoch {last}")


def stages(cfg: Config) -> Iterator[str]:
    stage, sampler = cfg.TRAIN.TWO_STAGE, cfg.TRAIN.SAMPLER.TYPE
    if (stage.DRW or stage.DRS) and stage.START_EPOCH >= cfg.TRAIN.MAX_EPOCH:
        yield (f"TRAIN.TWO_STAGE.START_EPOCH: the second stage begins after epoch {stage.START_EPOCH}, "
               f"but TRAIN.MAX_EPOCH is {cfg.TRAIN.MAX_EPOCH}")
    if stage.DRS and sampler == "default":
        yield "TRAIN.TWO_STAGE.DRS: TRAIN.SAMPLER.TYPE default has no re-sampling to defer; use 'weighted sampler'"
    if stage.DRS and sampler in SAMPLERS and SAMPLERS[sampler].rows > 1:
        yield f"TRAIN.TWO_STAGE.DRS: does not work with TRAIN.SAMPLER.TYPE {sampler!r} (two rows); use 'weighted sampler'"
    if not cfg.TRAIN.SHUFFLE and (sampler != "default" or stage.DRS):
        yield f"TRAIN.SHUFFLE: False keeps the order of the data set, which is not possible with TRAIN.SAMPLER.TYPE {sampler!r}"
