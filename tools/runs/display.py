"""The output while the queue runs: a live table on a terminal, otherwise a line per event."""
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from tools.runs.queue import FAILED, FINISHED, RUNNING, WAITING, QueueEntry, seconds_left

COLUMNS = ("run", "where", "epoch", "accuracy", "s/epoch", "ETA")


class Live:
    """Redraws one table in place."""

    def __init__(self, num_slots: int, write: Callable[[str], None]) -> None:
        self.num_slots, self.write, self.lines_drawn = num_slots, write, 0

    def event(self, entry: QueueEntry, account: Sequence[QueueEntry], now: float) -> None:
        """Does nothing: the next update shows the event."""

    def update(self, account: Sequence[QueueEntry], now: float) -> None:
        width, height = shutil.get_terminal_size()
        lines = [line[:width - 1] for line in table(account, self.num_slots, now)][:height - 1]   # what scrolls cannot be redrawn
        up = f"\x1b[{self.lines_drawn}F" if self.lines_drawn else ""
        self.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        self.lines_drawn = len(lines)


class Lines:
    """A line per event, for files and pipes."""

    def __init__(self, num_slots: int, write: Callable[[str], None]) -> None:
        self.num_slots, self.write = num_slots, write

    def event(self, entry: QueueEntry, account: Sequence[QueueEntry], now: float) -> None:
        self.write(f"{datetime.now():%H:%M:%S}  {describe_entry(entry)}  [{summary(account, self.num_slots, now)}]\n")

    def update(self, account: Sequence[QueueEntry], now: float) -> None:
        """Does nothing, since there was no event."""


def describe_entry(entry: QueueEntry) -> str:
    """Describes an event of a run."""
    job = entry.job
    if entry.status == RUNNING:
        return f"{job.name}: started on {entry.where} with epoch {entry.epochs + 1} of {job.epochs}"
    if entry.status == FINISHED:
        return f"{job.name}: finished, error {100 - 100 * entry.accuracy:.2f} %, {clock(entry.ended - entry.started)}"
    return f"{job.name}: failed ({entry.failure})"


def summary(account: Sequence[QueueEntry], num_slots: int, now: float) -> str:
    counts = {status: sum(entry.status == status for entry in account) for status in (FINISHED, FAILED, RUNNING, WAITING)}
    parts = [f"{counts[FINISHED]} of {len(account)} finished"]
    parts += [f"{counts[status]} {status}" for status in (FAILED, RUNNING, WAITING) if counts[status]]
    left = seconds_left(account, num_slots, now)
    return ", ".join(parts) + (f", ETA {clock(left)}" if left else "")


def table(account: Sequence[QueueEntry], num_slots: int, now: float) -> list[str]:
    """The state of the queue in lines: running and failed runs. The first line counts all others."""
    rows = [COLUMNS, *(row(entry, now) for entry in account if entry.status == RUNNING)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in rows]
    return [summary(account, num_slots, now), *lines * (len(rows) > 1), *failure_lines(account)]


def row(entry: QueueEntry, now: float) -> tuple[str, ...]:
    pace = entry.epoch_seconds
    accuracy = "" if entry.accuracy is None else f"{100 * entry.accuracy:.2f} %"
    return (entry.job.name, entry.where, f"{entry.epochs}/{entry.job.epochs}", accuracy,
            f"{pace:.1f}" if pace else "", clock(entry.seconds_left(pace, now)) if pace else "")


def failure_lines(account: Sequence[QueueEntry]) -> Iterator[str]:
    for entry in account:
        if entry.status == FAILED:
            yield f"failed: {entry.job.name} ({entry.failure}); {entry.job.output}"


def clock(seconds: float) -> str:
    """h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
