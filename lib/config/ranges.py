"""The valid range of every number in the configuration, and the rules for lists of numbers.

Components declare the ranges of their options themselves, see lib.utils.options. This module has the ranges of all other keys.
"""
from collections.abc import Iterator, Sequence
from typing import Any

from lib.config.default import TREE
from lib.config.families import declared
from lib.config.literals import short
from lib.config.node import Config
from lib.engine.optimizer import parse_factors
from lib.utils.errors import InputError
from lib.utils.options import BELOW_ONE, EPOCHS, LARGEST, MANY, SHARE, Numbers, Range

STEPS = Range(1, MANY)            # epochs or batches between two events; may exceed the length of the run
BATCH = Range(1, 2**20)           # images
PROCESSES = Range(0, 1024)        # processes or threads
TAU = Range(0, 10)
RATIO = Range(1, 10**6)            # images of the most frequent class / images of the rarest
MINUTES = Range(0, 366 * 24 * 60)
SIDE = Range(1, 8192)             # pixels, of INPUT_SIZE
MOST_MILESTONES, MOST_TAUS = 1000, 100

RANGES = {
    **declared(TREE, Range),
    "SEED": Range(0, LARGEST), "VALID_STEP": STEPS, "SAVE_STEP": STEPS, "SHOW_STEP": STEPS,
    "DATASET.CAM_NUMBER_THRES": Range(0, MANY), "TRAIN.BATCH_SIZE": BATCH, "TRAIN.MAX_EPOCH": Range(1, 10**6),
    "TRAIN.NUM_WORKERS": PROCESSES, "TRAIN.NUM_THREADS": PROCESSES, "TRAIN.MINUTES": MINUTES, "TRAIN.CHECKPOINT_MINUTES": MINUTES,
    "TRAIN.TWO_STAGE.START_EPOCH": EPOCHS,
    "TRAIN.OPTIMIZER.BASE_LR": Range(0, 1e38, without_low=True),   # at most what float32 can represent
    "TEST.BATCH_SIZE": BATCH, "TEST.NUM_WORKERS": PROCESSES, "TEST.MANY_SHOT": Range(0, MANY), "TEST.FEW_SHOT": Range(0, MANY),
    "TEST.AGGREGATION.EPOCHS": EPOCHS, "TEST.AGGREGATION.RATE": Range(1e-6, 100),
    "TEST.AGGREGATION.BATCH_SIZE": BATCH, "TEST.AGGREGATION.LEAST": SHARE,
    "TEST.TAU_NORM.TAU": TAU, "TEST.LOGIT_ADJUST": TAU,
    "NETWORK.EXPERTS.NUM": Range(1, 64), "NETWORK.EXPERTS.WIDTH": Range(0.1, 4),
    "TRAIN.EMA_DECAY": BELOW_ONE, "TRAIN.UPDATE.ACCUMULATE": BATCH, "TRAIN.UPDATE.CLIP_NORM": Range(0, MANY),
    "TRAIN.LR_SCHEDULER.WARMUP_EPOCHS": EPOCHS, "TRAIN.LR_SCHEDULER.WARMUP_FROM": SHARE,
}
LISTS = declared(TREE, Numbers)   # options that are lists of numbers
CHANNELS = {"DATASET.MEAN": Range(0, 1), "DATASET.STD": Range(0.001, 1)}   # of pixel values in [0, 1]
BOUNDS = {   # pairs of a lower and an upper bound
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": Range(1e-6, 1),
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO": Range(0.01, 100),
}


def problems(cfg: Config) -> Iterator[str]:
    """Yields a line for each number that is out of range, beginning with the full key."""
    values = cfg.flat()
    for key, span in RANGES.items():
        complaint = span.complaint(values[key])
        if complaint:
            yield f"{key}: {complaint}"
    for key, numbers in LISTS.items():
        yield from listed(key, values[key], numbers)
    yield from milestones(cfg.TRAIN.LR_SCHEDULER.LR_STEP)
    yield from sides(cfg.INPUT_SIZE)
    yield from padding(cfg)
    for key, span in CHANNELS.items():
        yield from channels(key, values[key], span)
    for key, span in BOUNDS.items():
        pair = values[key]
        if len(pair) != 2 or not are_in(pair, span) or pair[0] > pair[1]:
            yield f"{key}: must be a lower and an upper bound from {span.low:g} to {span.high:g}, got {short.repr(pair)}"
    yield from distinct("TEST.TAU_NORM.SWEEP", cfg.TEST.TAU_NORM.SWEEP, TAU, "[0, 0.5, 1]")
    yield from distinct("TEST.SWEEP", cfg.TEST.SWEEP, TAU, "[0, 0.5, 1]")
    yield from distinct("TEST.SHIFTS", cfg.TEST.SHIFTS, RATIO, "[2, 10, 50]")
    try:
        parse_factors(cfg.TRAIN.OPTIMIZER.LR_FACTORS)
    except InputError as error:
        yield str(error)


def listed(key: str, values: Sequence[Any], numbers: Numbers) -> Iterator[str]:
    span = numbers.each
    if not values or len(values) > numbers.most or not are_in(values, span):
        yield (f"{key}: must be one to {numbers.most} numbers from {span.low:g} to {span.high:g}, such as [0, 1, 2], "
               f"got {short.repr(values)}")


def milestones(steps: Sequence[Any]) -> Iterator[str]:
    key = "TRAIN.LR_SCHEDULER.LR_STEP"
    if not are_in(steps, STEPS) or list(steps) != sorted(set(steps)):
        yield f"{key}: must be ascending epochs from 1 to {MANY:,}, got {short.repr(steps)}"
    elif len(steps) > MOST_MILESTONES:
        yield f"{key}: must have at most {MOST_MILESTONES:,} epochs, got {len(steps):,}"


def sides(size: Sequence[Any]) -> Iterator[str]:
    if len(size) != 2 or not are_in(size, SIDE):
        yield f"INPUT_SIZE: must be height and width, such as [32, 32], from 1 to {SIDE.high} pixels each, got {short.repr(size)}"


def padding(cfg: Config) -> Iterator[str]:
    key, size = "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING", cfg.INPUT_SIZE
    width = cfg.flat()[key]
    views = [name for view in cfg.TRANSFORMS.VIEWS if isinstance(view, list) for name in view]
    used = "random_crop" in [*cfg.TRANSFORMS.TRAIN_TRANSFORMS, *cfg.TRANSFORMS.TEST_TRANSFORMS, *views]
    if used and not any(sides(size)) and width >= min(size):
        yield f"{key}: must be below INPUT_SIZE {list(size)}, got {width}; otherwise a crop may show only padding"


def channels(key: str, values: Sequence[Any], span: Range) -> Iterator[str]:
    if len(values) in (0, 3) and are_in(values, span):
        return
    in_levels = len(values) == 3 and are_in(values, Range(0, 255))
    hint = f"; divide by 255: {[round(value / 255, 4) for value in values]}" if in_levels and max(values) > 1 else ""
    yield (f"{key}: must be empty or three numbers, R G B, in units of [0, 1], from {span.low:g} to 1, got {short.repr(values)}"
           f"{hint}")


def distinct(key: str, values: Sequence[Any], span: Range, example: str) -> Iterator[str]:
    if not are_in(values, span):
        yield f"{key}: must be numbers from {span.low:g} to {span.high:g}, such as {example}, got {short.repr(values)}"
    elif len(set(values)) < len(values):
        yield f"{key}: names {next(value for value in values if values.count(value) > 1):g} twice; name each value once"
    elif len(values) > MOST_TAUS:
        yield f"{key}: must have at most {MOST_TAUS} values, got {len(values):,}"


def are_in(values: Sequence[Any], span: Range) -> bool:
    """Whether all values are numbers within the range."""
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) and not span.complaint(value) for value in values)
