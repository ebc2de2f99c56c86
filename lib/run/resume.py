"""Finds the newest complete checkpoint from which a run can be resumed."""
import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lib.run.checkpoint import Start, position, read_start
from lib.run.identity import OtherDataError
from lib.run.own_files import BEST, LAST, PART, PREVIOUS
from lib.utils.errors import InputError

log = logging.getLogger(__name__)


class OtherBatchesError(InputError):
    """Raised for a checkpoint from the middle of an epoch whose batches would differ here."""


def check_part(start: Start, plan: Callable[[int], str], world_size: int) -> None:
    """Raises OtherBatchesError for a checkpoint from the middle of an epoch that has other batches here, since images would
    be seen twice or left out.

    Args:
        plan: epoch to a text that is equal where its batches are (``Loader.digest``).
    """
    state = start.state
    if not start.resumes or not state.get("batch"):
        return
    totals = state.get("totals")
    whole = isinstance(totals, Tensor) and len(totals) == world_size and isinstance(state.get("seconds"), float)
    if not whole or state.get("plan") != plan(state["epoch"] + 1):
        raise OtherBatchesError(f"{start.source} is from the middle of epoch {state['epoch'] + 1} with {state.get('world_size')} "
                                f"processes; with {world_size} here, and this configuration, that epoch has other batches")


def newest_start(models: Path, accept: Callable[[Start], None]) -> Start | None:
    """The newest checkpoint of a run's folder ``models``; None where there is none yet.

    That is last.pth, or mid_epoch.pth if it is from the epoch after it. Where last.pth is damaged or does not fit, all others
    are looked at as well. The log says which file is at fault and which is taken.

    Args:
        accept: raises InputError for what does not fit this run.

    Raises:
        InputError: there are checkpoints, and none of them can be resumed from, or they are of other data.
    """
    newest, refused = newest_of([models / LAST, models / PART], accept)
    if newest is None or any(LAST in str(error) for error in refused):
        others = [models / PREVIOUS, *sorted(models.glob("epoch_*.pth")), models / BEST]
        other, more = newest_of(others, accept)
        newest, refused = max((newest, other), key=age), refused + more
    if newest is None and not all(isinstance(error, OtherBatchesError) for error in refused):
        reasons = "\n  ".join(str(error) for error in refused)
        raise InputError(f"--ar: none of the checkpoints in {models} can be resumed from; restore one, or start over with "
                         f"--overwrite\n  {reasons}")
    for error in refused:
        log.warning("%s; resuming %s", error, f"from {newest.source.removeprefix('--ar ')}" if newest else "from the beginning")
    return newest


def newest_of(paths: list[Path], accept: Callable[[Start], None]) -> tuple[Start | None, list[InputError]]:
    """The newest one that is accepted, of equal ones the first, and what is wrong with the others; one is in memory at a time."""
    newest, refused = None, []
    for path in filter(Path.exists, paths):
        try:
            start = read_start("run", path, "--ar")
            accept(start)
        except OtherDataError:   # as all of them are: they are checkpoints of one run
            raise
        except InputError as error:
            refused.append(error)
        else:
            newest = max((newest, start), key=age)
    return newest, refused


def age(start: Start | None) -> tuple[int, int]:
    return position(start.state) if start else (-1, 0)
