"""Saves the state of a training to a checkpoint, and restores it."""
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lib.dataset import Loader
from lib.device.runtime import Runtime, unwrap
from lib.engine.training import Training
from lib.report.metrics import BEST_BY
from lib.run.checkpoint import Start
from lib.run.identity import Identity
from lib.run.own_files import BEST
from lib.utils.errors import InputError

log = logging.getLogger(__name__)

PARTS = "parts"   # entry with the state of each part, by name
AVERAGE = "ema"   # entry with averaged weights; ``foreign`` recognises them by this word


class Point(NamedTuple):
    """The progress of a run: the last finished epoch, the best validation so far, and the finished batches of the next epoch."""

    epoch: int = 0
    best_result: float = -1.0
    best_epoch: int = 0
    best_by: str = "accuracy"      # TEST.BEST_BY: the metric of best_result
    batch: int = 0                 # finished batches of the next epoch
    totals: Tensor | None = None   # sums of the metrics over these batches, a row per rank
    seconds: float = 0.0           # time that these batches took

    def finish_epoch(self) -> "Point":
        return Point(self.epoch + 1, self.best_result, self.best_epoch, self.best_by)

    def judge(self, epoch: int, result: float) -> "Point":
        """Records the result of an epoch if it is the best so far."""
        return self._replace(best_result=result, best_epoch=epoch) if result > self.best_result else self

    def compared_by(self, best_by: str, held: int | None) -> "Point":
        """Sets the metric by which epochs are compared. The comparison starts over, with a warning, if the best epoch so far was
        chosen by another metric or its weights are not in this run's best_model.pth.

        Args:
            held: the epoch of best_model.pth; None if there is no such file.
        """
        if self.best_epoch == 0 or (self.best_by == best_by and self.best_epoch == held):
            return self._replace(best_by=best_by)
        log.warning("best epoch: was %d by %s%s; the comparison starts over with the next validation, by %s", self.best_epoch,
                    BEST_BY[self.best_by].title if str(self.best_by) in BEST_BY else self.best_by,
                    "" if self.best_epoch == held else f", and no {BEST} of this run holds it", BEST_BY[best_by].title)
        return self._replace(best_result=-1.0, best_epoch=0, best_by=best_by)


def snapshot(training: Training, point: Point, loader: Loader, identity: Identity, config: Mapping[str, Any],
             runtime: Runtime) -> dict[str, Any]:
    """The content of a checkpoint from which a run can be resumed. It has no state of random generators, since random numbers
    are functions of seed, rank, epoch and batch. It has the BatchNorm statistics of rank 0 only, as at the end of every epoch,
    since no training step reads them."""
    states = {name: part.state_dict() for name, part in training.parts(loader).items() if name != "network"}
    return {
        "state_dict": unwrap(training.network).state_dict(),
        **({AVERAGE: training.average.weights()} if training.average else {}),
        "optimizer": training.optimizer.state_dict(),
        "precision": training.precision.state_dict(),
        PARTS: {name: state for name, state in states.items() if state},
        **identity._asdict(),
        "evaluation_scale": training.criterion.evaluation_scale,
        "combiner": training.combiner.origin(),
        "config": dict(config),
        "world_size": runtime.world_size,
        **point._asdict(),
    }


def restore_parts(training: Training, loader: Loader, start: Start) -> None:
    """Restores the state of every part, and logs the parts whose state is not in the checkpoint.

    Raises:
        InputError: a saved state does not fit its part.
    """
    saved = start.state.get(PARTS, {})
    parts = {name: part for name, part in training.parts(loader).items() if name != "network"}
    for name, part in parts.items():
        if not part.state_dict() and name not in saved:
            continue
        if name not in saved:
            log.warning("%s has no state of the %s, which starts from its initial values", start.source, name)
            continue
        try:
            part.load_state_dict(saved[name])
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error).strip().split("\n")[-1].strip()
            raise InputError(f"{start.source} holds the state of another {name} than this configuration's ({reason}); "
                             "RESUME_MODE state_dict takes the weights of the network only") from error
    unused = sorted(saved.keys() - parts.keys())
    if unused:
        log.warning("%s: states of parts that are not here are not used: %s", start.source, ", ".join(unused))
    if training.average is not None and isinstance(start.state.get(AVERAGE), Mapping):
        training.average.load_weights(start.state[AVERAGE])
