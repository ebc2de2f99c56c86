"""Finds the checkpoint from which a run is resumed: the newest one that is undamaged and fits."""
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
    """An error for a checkpoint from the middle of an epoch whose batches would differ here."""


def check_part(start: Start, plan: Callable[[int], str], world_size: int) -> None:
    """Raises OtherBatchesError for a checkpoint from the middle of an epoch if the batches of that epoch differ here: images
    would be used twice or left out.

    Args:
        plan: maps an epoch to a digest of its batches (``Loader.digest``).
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
    """Finds the newest checkpoint in a run's folder ``models``; None if there is none yet.

    It is last.pth, or mid_epoch.pth if that is from the following epoch. If last.pth is damaged or does not fit, all other
    checkpoints are tried too. The log reports the files that were refused and the one that is taken.

    Args:
        accept: raises InputError for a checkpoint that does not fit this run.

    Raises:
        InputError: there are checkpoints, but none can be resumed from, or they were trained on other data.
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
    """Returns the newest accepted checkpoint (the first of equally new ones), and the errors of the refused ones."""
    newest, refused = None, []
    for path in filter(Path.exists, paths):
        try:
            start = read_start("run", path, "--ar")
            accept(start)
        except OtherDataError:   # holds for all checkpoints of the run
            raise
        except InputError as error:
            refused.append(error)
        else:
            newest = max((newest, start), key=age)
    return newest, refused


def age(start: Start | None) -> tuple[int, int]:
    return position(start.state) if start else (-1, 0)
