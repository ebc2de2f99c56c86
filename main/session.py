"""What a training consists of, how far it has come, and what may come between two of its batches."""
import logging
import time
from types import TracebackType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from lib.combiner import Combiner
from lib.config import Config
from lib.device.precision import Precision
from lib.device.runtime import Runtime, unwrap
from lib.engine.interruption import BROKEN, GO_ON, SAVE, Watch
from lib.engine.step import Loader, Sums, TrainStep, has_finite_weights
from lib.report.metrics import BEST_BY
from lib.run.identity import Identity
from lib.run.run import BEST, Run
from lib.utils.errors import InputError, RunFailedError, RunInterruptedError
from lib.utils.schedule import Schedule

log = logging.getLogger("main.train")


class Parts(NamedTuple):
    """What is trained, and with what."""

    network: nn.Module   # as the step calls it, wrapped for several devices
    criterion: nn.Module
    combiner: Combiner
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision
    step: TrainStep      # all of them at work on a batch
    identity: Identity   # what the network is of


class Point(NamedTuple):
    """How far a run has come: the last finished epoch, the best validation so far, and what there is of the next epoch."""

    epoch: int = 0
    best_result: float = -1.0
    best_epoch: int = 0
    best_by: str = "accuracy"      # TEST.BEST_BY, of which best_result is a value
    batch: int = 0                 # batches of the next epoch that are done
    totals: Tensor | None = None   # their sums, a row per rank
    seconds: float = 0.0           # that they took

    def finish_epoch(self) -> "Point":
        return Point(self.epoch + 1, self.best_result, self.best_epoch, self.best_by)

    def judge(self, epoch: int, result: float) -> "Point":
        """With the result of an epoch, if it is the best so far."""
        return self._replace(best_result=result, best_epoch=epoch) if result > self.best_result else self

    def compared_by(self, best_by: str, held: int | None) -> "Point":
        """The point from which epochs are compared by ``best_by``. The comparison starts over, and the log says so, where the
        best epoch so far was chosen by another metric, or its weights are not in this run's best_model.pth.

        Args:
            held: the epoch that best_model.pth is of; None where there is none.
        """
        if self.best_epoch == 0 or (self.best_by == best_by and self.best_epoch == held):
            return self._replace(best_by=best_by)
        log.warning("best epoch: was %d by %s%s; the comparison starts over with the next validation, by %s", self.best_epoch,
                    BEST_BY[self.best_by].title if str(self.best_by) in BEST_BY else self.best_by,
                    "" if self.best_epoch == held else f", and no {BEST} of this run holds it", BEST_BY[best_by].title)
        return self._replace(best_result=-1.0, best_epoch=0, best_by=best_by)


def epoch_rate(cfg: Config, parts: Parts, epoch: int) -> float:
    return cfg.TRAIN.OPTIMIZER.BASE_LR * parts.schedule(epoch)


def snapshot(cfg: Config, parts: Parts, point: Point, runtime: Runtime) -> dict[str, Any]:
    """All that resuming needs. Random numbers are functions of seed, rank, epoch and batch, so no state of theirs is kept; of
    the ranks' BatchNorm statistics only rank 0's are, as at the end of every epoch, since no step of training reads them."""
    return {
        "state_dict": unwrap(parts.network).state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "precision": parts.precision.state_dict(),
        **parts.identity._asdict(),
        "evaluation_scale": parts.criterion.evaluation_scale,
        "combiner": parts.combiner.origin(),
        "config": cfg.flat(),
        "world_size": runtime.world_size,
        **point._asdict(),
    }


class Pause:
    """Between two batches of the epoch after ``point``: nothing, a checkpoint, or the end of the run; on all ranks alike.

    Left as a context by an image that cannot be read, it saves what the epoch has come to, unless other ranks do not know of it.
    """

    def __init__(self, cfg: Config, run: Run, parts: Parts, point: Point, runtime: Runtime, watch: Watch, loader: Loader) -> None:
        self.cfg, self.run, self.parts, self.point, self.runtime = cfg, run, parts, point, runtime
        self.watch, self.loader = watch, loader
        self.started = time.monotonic() - point.seconds
        self.sums: Sums | None = None   # of the epoch so far

    def __enter__(self) -> "Pause":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, InputError) and (self.runtime.world_size == 1 or error.agreed):
            if self.sums is not None:
                self.save(self.sums)
            kept = self.runtime.broadcast_object(self.run.kept)
            complete = InputError(f"{error}; {kept}; once the images are right, --ar True goes on")
            complete.agreed = error.agreed
            raise complete from error

    def seconds(self) -> float:
        """Since the epoch began, the time between a stop and the resumption left out."""
        return time.monotonic() - self.started

    def __call__(self, sums: Sums, broken: bool = False) -> None:
        """Args:
            broken: this rank has seen a loss that is not finite.

        Raises:
            RunInterruptedError: a signal asked to stop.
            RunFailedError: the loss is not finite.
        """
        self.sums = sums
        verdict = self.watch.agree(broken)
        if verdict == GO_ON:
            return
        if verdict == BROKEN:
            self.fail(sums)
        self.save(sums)
        self.watch.restart_clock()
        if verdict != SAVE:
            kept = self.runtime.broadcast_object(self.run.kept)   # and nobody leaves before it is written
            raise RunInterruptedError(verdict, kept)

    def save(self, sums: Sums) -> None:
        """Writes a checkpoint, unless something in it is not finite; to be called on all ranks."""
        totals = sums.gather(self.runtime)
        if not totals[:, 0].isfinite().all() or not has_finite_weights(self.parts.network):
            self.fail(sums)
        if self.runtime.is_main:
            point = self.point._replace(batch=sums.batches, totals=totals, seconds=self.seconds())
            plan = {"plan": self.loader.digest(point.epoch + 1)}
            self.run.save_part(snapshot(self.cfg, self.parts, point, self.runtime) | plan)

    def fail(self, sums: Sums) -> None:
        """Raises RunFailedError, which says where numbers ceased to be finite; to be called on all ranks."""
        first_bad = sums.gather(self.runtime)[:, -1]
        batch, rank = int(min(first_bad.min(), sums.batches)), int(first_bad.argmin())
        what = "training loss is" if first_bad.min() <= sums.batches else "weights are"
        where = f"epoch {self.point.epoch + 1}, batch {batch} of {len(self.loader)}"
        where += f" of rank {rank}" if self.runtime.world_size > 1 else ""
        rate = epoch_rate(self.cfg, self.parts, self.point.epoch + 1)
        kept = self.runtime.broadcast_object(self.run.kept)
        raise RunFailedError(f"{where}: the {what} not finite, at rate {rate:g}; {kept}")
