"""The range of every number in the configuration, and what lists of numbers must be."""
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lib.config.literals import LARGEST, short
from lib.config.node import Config
from lib.engine.optimizer import parse_factors
from lib.utils.errors import InputError


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, with both of them unless they are left out."""

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    def complaint(self, number: float) -> str:
        """What is wrong with a number; empty for one in the range."""
        if not math.isfinite(number):
            return f"{number} is no number to compute with"
        if self.without_low and number <= self.low:
            return f"must be above {self.low:g}, got {number}"
        if number < self.low:
            return f"must not be negative, got {number}" if self.low == 0 else f"must be at least {self.low:g}, got {number}"
        if self.without_high and number >= self.high:
            return f"must be below {self.high:g}, got {number}"
        return f"must be at most {self.high:,}, got {number}" if number > self.high else ""


MANY = 10**9
STEPS = Range(1, MANY)            # epochs or batches from one event to the next; what never comes is legal
EPOCHS = Range(0, MANY)
BATCH = Range(1, 2**20)           # images
PROCESSES = Range(0, 1024)        # or threads
SHARE, BELOW_ONE, POWER = Range(0, 1), Range(0, 1, without_high=True), Range(0, 10)
TAU = Range(0, 10)
MINUTES = Range(0, 366 * 24 * 60)
SIDE = Range(1, 8192)             # of INPUT_SIZE; an image file may have 100 megapixels
MOST_MILESTONES, MOST_TAUS, MOST_FOLDS = 1000, 100, 1000

RANGES = {
    "SEED": Range(0, LARGEST), "VALID_STEP": STEPS, "SAVE_STEP": STEPS, "SHOW_STEP": STEPS,
    "DATASET.CAM_NUMBER_THRES": Range(0, MANY), "DATASET.IMBALANCECIFAR.RATIO": Range(0, 1, without_low=True),
    "DATASET.IMBALANCECIFAR.RANDOM_SEED": Range(0, 2**32 - 1),   # numpy's
    "DATASET.FOLDER.VALID_SHARE": BELOW_ONE, "DATASET.FOLDER.TEST_SHARE": BELOW_ONE, "DATASET.FOLDER.MIN_VALID": Range(1, MANY),
    "DATASET.FOLDER.SEED": Range(0, LARGEST), "DATASET.FOLDER.FOLDS": Range(0, MOST_FOLDS),
    "DATASET.FOLDER.FOLD": Range(1, MOST_FOLDS),
    "LOSS.CostSensitiveCE.GAMMA": POWER, "LOSS.ClassBalanceCE.BETA": BELOW_ONE, "LOSS.ClassBalanceFocal.BETA": BELOW_ONE,
    "LOSS.ClassBalanceFocal.GAMMA": Range(0, 20), "LOSS.CrossEntropyLabelSmooth.EPSILON": BELOW_ONE,
    "LOSS.CrossEntropyLabelAwareSmooth.SMOOTH_HEAD": BELOW_ONE, "LOSS.CrossEntropyLabelAwareSmooth.SMOOTH_TAIL": BELOW_ONE,
    "LOSS.FocalLoss.GAMMA": Range(0, 20), "LOSS.LDAMLoss.SCALE": Range(0, 1000, without_low=True),
    "LOSS.LDAMLoss.MAX_MARGIN": Range(0, 2),   # by which two cosines differ at most
    "LOSS.CDT.GAMMA": POWER, "LOSS.SEQL.GAMMA": SHARE, "LOSS.SEQL.LAMBDA": SHARE,
    "LOSS.InfluenceBalancedLoss.ALPHA": Range(0, MANY, without_low=True), "LOSS.DiVEKLD.ALPHA": SHARE,
    "LOSS.DiVEKLD.POWER": Range(0, 100, without_low=True), "LOSS.DiVEKLD.TEMPERATURE": Range(0.01, 1000),
    "TRAIN.BATCH_SIZE": BATCH, "TRAIN.MAX_EPOCH": Range(1, 10**6), "TRAIN.NUM_WORKERS": PROCESSES, "TRAIN.NUM_THREADS": PROCESSES,
    "TRAIN.MINUTES": MINUTES, "TRAIN.CHECKPOINT_MINUTES": MINUTES, "TRAIN.COMBINER.ALPHA": Range(0.001, 1000),
    "TRAIN.COMBINER.REMIX.KAPPA": Range(1, MANY), "TRAIN.COMBINER.REMIX.TAU": SHARE, "TRAIN.TWO_STAGE.START_EPOCH": EPOCHS,
    "TRAIN.OPTIMIZER.BASE_LR": Range(0, 1e38, without_low=True),   # that float32 holds; a rate that is too high ends the run
    "TRAIN.OPTIMIZER.MOMENTUM": BELOW_ONE, "TRAIN.OPTIMIZER.WEIGHT_DECAY": Range(0, 10),
    "TRAIN.LR_SCHEDULER.LR_FACTOR": Range(0, 10, without_low=True), "TRAIN.LR_SCHEDULER.WARM_EPOCH": EPOCHS,
    "TRAIN.LR_SCHEDULER.COSINE_DECAY_END": EPOCHS, "TEST.BATCH_SIZE": BATCH, "TEST.NUM_WORKERS": PROCESSES,
    "TEST.MANY_SHOT": Range(0, MANY), "TEST.FEW_SHOT": Range(0, MANY),
    "TEST.TAU_NORM.TAU": TAU, "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING": Range(0, 8192),
}
CHANNELS = {"DATASET.MEAN": Range(0, 1), "DATASET.STD": Range(0.001, 1)}   # of values in [0, 1]
BOUNDS = {   # a lower and an upper one
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": Range(1e-6, 1),
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO": Range(0.01, 100),
}


def problems(cfg: Config) -> Iterator[str]:
    """Numbers out of range, a line each, beginning with the full key."""
    values = cfg.flat()
    for key, span in RANGES.items():
        complaint = span.complaint(values[key])
        if complaint:
            yield f"{key}: {complaint}"
    yield from milestones(cfg.TRAIN.LR_SCHEDULER.LR_STEP)
    yield from sides(cfg.INPUT_SIZE)
    yield from padding(cfg)
    for key, span in CHANNELS.items():
        yield from channels(key, values[key], span)
    for key, span in BOUNDS.items():
        pair = values[key]
        if len(pair) != 2 or not are_in(pair, span) or pair[0] > pair[1]:
            yield f"{key}: must be a lower and an upper bound from {span.low:g} to {span.high:g}, got {short.repr(pair)}"
    yield from taus(cfg.TEST.TAU_NORM.SWEEP)
    try:
        parse_factors(cfg.TRAIN.OPTIMIZER.LR_FACTORS)
    except InputError as error:
        yield str(error)


def milestones(steps: Sequence[Any]) -> Iterator[str]:
    key = "TRAIN.LR_SCHEDULER.LR_STEP"
    if not are_in(steps, STEPS) or list(steps) != sorted(set(steps)):
        yield f"{key}: must be ascending epochs from 1 to {MANY:,}, got {short.repr(steps)}"
    elif len(steps) > MOST_MILESTONES:
        yield f"{key}: has {len(steps):,} epochs, of {MOST_MILESTONES:,} at most"


def sides(size: Sequence[Any]) -> Iterator[str]:
    if len(size) != 2 or not are_in(size, SIDE):
        yield f"INPUT_SIZE: must be height and width, such as [32, 32], from 1 to {SIDE.high} pixels each, got {short.repr(size)}"


def padding(cfg: Config) -> Iterator[str]:
    key, size = "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING", cfg.INPUT_SIZE
    width = cfg.flat()[key]
    used = "random_crop" in [*cfg.TRANSFORMS.TRAIN_TRANSFORMS, *cfg.TRANSFORMS.TEST_TRANSFORMS]
    if used and not any(sides(size)) and width >= min(size):
        yield f"{key}: must be below INPUT_SIZE {list(size)}, got {width}; else a crop may have nothing of the image in it"


def channels(key: str, values: Sequence[Any], span: Range) -> Iterator[str]:
    if len(values) in (0, 3) and are_in(values, span):
        return
    in_levels = len(values) == 3 and are_in(values, Range(0, 255))
    hint = f"; divided by 255 that is {[round(value / 255, 4) for value in values]}" if in_levels and max(values) > 1 else ""
    yield (f"{key}: must be empty or three numbers, R G B, in units of [0, 1], from {span.low:g} to 1, got {short.repr(values)}"
           f"{hint}")


def taus(sweep: Sequence[Any]) -> Iterator[str]:
    key = "TEST.TAU_NORM.SWEEP"
    if not are_in(sweep, TAU):
        yield f"{key}: must be numbers from 0 to {TAU.high}, such as [0, 0.5, 1], got {short.repr(sweep)}"
    elif len(set(sweep)) < len(sweep):
        yield f"{key}: names {next(tau for tau in sweep if sweep.count(tau) > 1):g} twice"
    elif len(sweep) > MOST_TAUS:
        yield f"{key}: has {len(sweep):,} values, of {MOST_TAUS} at most"


def are_in(values: Sequence[Any], span: Range) -> bool:
    """Whether all are numbers of the range."""
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) and not span.complaint(value) for value in values)
