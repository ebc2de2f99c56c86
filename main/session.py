"""Actions between two batches of a training: checkpoints and stopping."""
import logging
import time
from types import TracebackType

from lib.config import Config
from lib.dataset import Loader
from lib.device.runtime import Runtime
from lib.engine.interruption import BROKEN, GO_ON, SAVE, Watch
from lib.engine.step import has_finite_weights
from lib.engine.totals import Sums, Totals
from lib.engine.training import Training
from lib.run.identity import Identity
from lib.run.run import Run
from lib.run.state import Point, snapshot
from lib.utils.errors import InputError, RunFailedError, RunInterruptedError

log = logging.getLogger("main.train")


def epoch_rate(cfg: Config, training: Training, epoch: int) -> float:
    return cfg.TRAIN.OPTIMIZER.BASE_LR * training.schedule(epoch)


class Pause:
    """Called between two batches of the epoch after ``point``: does nothing, writes a checkpoint or ends the run, on all ranks.

    As a context that is left because an image cannot be read, it saves the state of the epoch, unless only this rank is affected.
    """

    def __init__(self, cfg: Config, run: Run, training: Training, point: Point, runtime: Runtime, watch: Watch, loader: Loader,
                 identity: Identity) -> None:
        self.cfg, self.run, self.training, self.point, self.runtime = cfg, run, training, point, runtime
        self.watch, self.loader, self.identity = watch, loader, identity
        self.started = time.monotonic() - point.seconds
        self.sums: Sums | None = None   # of the epoch so far

    def __enter__(self) -> "Pause":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, InputError) and (self.runtime.world_size == 1 or error.agreed):
            if self.sums is not None:
                self.save(self.sums)
            kept = self.runtime.broadcast_object(self.run.kept)
            complete = InputError(f"{error}; {kept}; correct the images, then resume the run with --ar True")
            complete.agreed = error.agreed
            raise complete from error

    def seconds(self) -> float:
        """Seconds since the epoch began, without the time between a stop and its resumption."""
        return time.monotonic() - self.started

    def __call__(self, sums: Sums, broken: bool = False) -> None:
        """Args:
            broken: whether the loss of this rank is not finite.

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
            kept = self.runtime.broadcast_object(self.run.kept)   # and no rank leaves before it is written
            raise RunInterruptedError(verdict, kept)

    def save(self, sums: Sums) -> None:
        """Writes a checkpoint, unless something in it is not finite; to be called on all ranks."""
        totals = sums.gather(self.runtime)
        if not Totals.of(totals).loss.isfinite().all() or not has_finite_weights(self.training.network):
            self.fail(sums)
        if self.runtime.is_main:
            point = self.point._replace(batch=sums.batches, totals=totals, seconds=self.seconds())
            plan = {"plan": self.loader.digest(point.epoch + 1)}
            self.run.save_part(snapshot(self.training, point, self.loader, self.identity, self.cfg.flat(), self.runtime) | plan)

    def fail(self, sums: Sums) -> None:
        """Raises RunFailedError with the place of the first number that is not finite; to be called on all ranks."""
        first_bad = Totals.of(sums.gather(self.runtime)).first_bad
        batch, rank = int(min(first_bad.min().item(), sums.batches)), int(first_bad.argmin())
        what = "training loss is" if first_bad.min() <= sums.batches else "weights are"
        where = f"epoch {self.point.epoch + 1}, batch {batch} of {len(self.loader)}"
        where += f" of rank {rank}" if self.runtime.world_size > 1 else ""
        rate = epoch_rate(self.cfg, self.training, self.point.epoch + 1)
        kept = self.runtime.broadcast_object(self.run.kept)
        raise RunFailedError(f"{where}: the {what} not finite, at learning rate {rate:g}; {kept}")
