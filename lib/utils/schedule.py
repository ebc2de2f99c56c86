"""Learning rate schedules and the start of second stages, as pure functions of the epoch. Epochs count from 1.

With LR_STEP 160 the lower rate applies from epoch 160 on, while DRW and DRS with START_EPOCH 160 begin at 161. Both are as
published: the original code stepped its scheduler before the epoch, and compared the epoch with ``>``.
"""
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from lib.utils.options import EPOCHS, Range
from lib.utils.registry import Registry

Schedule = Callable[[int], float]   # epoch to rate / BASE_LR
Factor = Annotated[float, Range(0, 10, without_low=True)]
SCHEDULES = Registry("schedule")   # ``SCHEDULES.build(name, options, epochs, base_rate)``

COSINE_FLOOR = 1e-4   # final rate of the published cosine decay, for every base rate


@dataclass(frozen=True)
class Deferred:
    """The start of the second stage of DRW and DRS: inactive up to and including ``start_epoch``, active after it."""

    start_epoch: int = 0

    def active(self, epoch: int) -> bool:
        return epoch > self.start_epoch


def multistep(milestones: Sequence[int], factor: float, warm_epochs: int = 0) -> Schedule:
    """Step decay: factor ** #{milestones <= epoch}, so a milestone is the first epoch of the lower rate.

    In the first ``warm_epochs`` there is a linear warm-up: times (1 - a) / 3 + a, a = min(epoch / warm_epochs, 1).
    """
    milestones = sorted(milestones)

    def at(epoch: int) -> float:
        warm = min(epoch / warm_epochs, 1.0) if warm_epochs else 1.0
        return ((1 - warm) / 3 + warm) * factor ** bisect_right(milestones, epoch)

    return at


def cosine(last_epoch: int, base_rate: float) -> Schedule:
    """Cosine decay from ``base_rate`` at epoch 0 to 1e-4 at ``last_epoch``, constant afterwards; divided by ``base_rate``.

    In the published code the rate rose again after ``last_epoch``.
    """
    def at(epoch: int) -> float:
        wave = (1 + math.cos(math.pi * min(epoch / last_epoch, 1.0))) / 2
        return (COSINE_FLOOR + (base_rate - COSINE_FLOOR) * wave) / base_rate

    return at


def warmup_cosine(last_epoch: int, warm_epochs: int) -> Schedule:
    """Linear warm-up from 0, then cosine decay to 0, which the epoch after ``last_epoch`` would reach.

    Epoch e of the warm-up has e / (warm_epochs + 1); the first epoch after it has the full rate.
    """
    def at(epoch: int) -> float:
        if epoch <= warm_epochs:
            return epoch / (warm_epochs + 1)
        done = (epoch - warm_epochs - 1) / max(last_epoch - warm_epochs, 1)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2

    return at


def climb(epochs: int, start: float, after: Schedule) -> Schedule:
    """Adds a linear warm-up to a schedule: ``after`` times start + (1 − start) · min(e / epochs, 1), at the full rate from epoch
    ``epochs`` on."""
    def at(epoch: int) -> float:
        return after(epoch) * (start + (1 - start) * min(epoch / epochs, 1.0))

    return at if epochs else after


@SCHEDULES.register("multistep")
def build_multistep(epochs: int, base_rate: float, *, lr_step: Sequence[int] = (40, 50),
                    lr_factor: Factor = 0.1) -> Schedule:
    """``multistep`` without warm-up."""
    return multistep(lr_step, lr_factor)


@SCHEDULES.register("warmup")
def build_warmup(epochs: int, base_rate: float, *, lr_step: Sequence[int] = (40, 50),
                 lr_factor: Factor = 0.1,
                 warm_epoch: Annotated[int, EPOCHS] = 5) -> Schedule:
    """``multistep`` with warm-up."""
    return multistep(lr_step, lr_factor, warm_epoch)


@SCHEDULES.register("cosine")
def build_cosine(epochs: int, base_rate: float, *, cosine_decay_end: Annotated[int, EPOCHS] = 0) -> Schedule:
    """``cosine`` that ends at epoch ``cosine_decay_end``; 0 means the last epoch."""
    return cosine(cosine_decay_end or epochs, base_rate)


@SCHEDULES.register("warmup_cosine")
def build_warmup_cosine(epochs: int, base_rate: float, *, warm_epoch: Annotated[int, EPOCHS] = 5,
                        cosine_decay_end: Annotated[int, EPOCHS] = 0) -> Schedule:
    """``warmup_cosine`` that ends at epoch ``cosine_decay_end``; 0 means the last epoch."""
    return warmup_cosine(cosine_decay_end or epochs, warm_epoch)
