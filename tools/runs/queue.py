"""The queue: starts waiting runs when there is room, and records the progress of all runs."""
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from lib.utils.errors import InputError
from tools.runs.jobs import Job, state

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"
POLL = 0.5   # seconds from one look at the processes to the next


class Ended(NamedTuple):
    """A process that has ended."""

    job: Job
    failure: str   # why it failed, in words; empty where it did not


class Engine(Protocol):
    """Where runs are executed: this machine, or a cluster."""

    num_slots: int   # runs at a time

    def start(self, job: Job) -> str:
        """Starts a run; returns where, for the display. Raises InputError where it cannot be started."""

    def ended(self) -> Iterable[Ended]:
        """Yields each run that has ended, once."""

    def stop(self) -> None:
        """Ends the running processes, so that they can be resumed later, and waits for them."""


@dataclass
class QueueEntry:
    """The record of one run; times in seconds of a monotonic clock."""

    job: Job
    status: str = WAITING
    epochs: int = 0                  # finished ones
    begun_with: int = 0              # of them, those of earlier calls
    accuracy: float | None = None
    started: float | None = None     # None: not in this call
    last_epoch: float | None = None  # when the last epoch ended, as far as it was seen
    ended: float | None = None
    where: str = ""
    failure: str = ""

    @property
    def epochs_left(self) -> int:
        return max(self.job.epochs - self.epochs, 0) if self.status in (WAITING, RUNNING) else 0

    @property
    def epoch_seconds(self) -> float | None:
        """Wall time of an epoch in this call, start-up and validation included; None before the first one."""
        return (self.last_epoch - self.started) / (self.epochs - self.begun_with) if self.last_epoch is not None else None

    def seconds_left(self, epoch_seconds: float, now: float) -> float:
        """Seconds that are left for this run, if its remaining epochs take as long."""
        since = now - self.last_epoch if self.last_epoch is not None else 0.0
        return max(self.epochs_left * epoch_seconds - since, 0.0)

    def refresh(self, now: float) -> None:
        """Reads the progress of the run. A history that cannot be read is reported as a failure of the run at its end."""
        try:
            found = state(self.job)
        except InputError as error:
            self.failure = str(error)
            return
        if found.epochs > self.epochs:
            self.last_epoch = now
        self.epochs, self.accuracy, self.failure = found.epochs, found.accuracy, ""


class Display(Protocol):
    """Shows the state of the queue to the user."""

    def event(self, entry: QueueEntry, account: Sequence[QueueEntry], now: float) -> None:
        """A run has started, finished or failed."""

    def update(self, account: Sequence[QueueEntry], now: float) -> None:
        """Called regularly, without an event."""


def open_account(jobs: Sequence[Job]) -> list[QueueEntry]:
    """The records of all runs with their progress in earlier calls; finished ones are not run again."""
    account = []
    for job in jobs:
        found = state(job)
        account.append(QueueEntry(job, FINISHED if found.finished else WAITING, found.epochs, found.epochs, found.accuracy))
    return account


def run_queue(account: Sequence[QueueEntry], engine: Engine, display: Display, sleep: Callable[[float], None] = time.sleep,
              clock: Callable[[], float] = time.monotonic) -> None:
    """Runs everything that waits, in order and as many at a time as the engine takes; a run that fails does not stop the others.

    Whatever goes wrong here, Ctrl-C included, the engine ends its runs before this returns.
    """
    waiting = [entry for entry in account if entry.status == WAITING][::-1]
    running: dict[Path, QueueEntry] = {}
    try:
        while waiting or running:
            while waiting and len(running) < engine.num_slots:
                entry = waiting.pop()
                begin(entry, engine, clock())
                if entry.status == RUNNING:
                    running[entry.job.output] = entry
                display.event(entry, account, clock())
            display.update(account, clock())
            sleep(POLL)
            for ended in engine.ended():
                entry = running.pop(ended.job.output)
                finish(entry, ended.failure, clock())
                display.event(entry, account, clock())
            for entry in running.values():
                entry.refresh(clock())
        display.update(account, clock())
    finally:
        engine.stop()


def begin(entry: QueueEntry, engine: Engine, now: float) -> None:
    entry.started = now
    try:
        entry.where, entry.status = engine.start(entry.job), RUNNING
    except InputError as error:
        entry.status, entry.failure, entry.ended = FAILED, str(error), now


def finish(entry: QueueEntry, failure: str, now: float) -> None:
    entry.ended = now
    entry.refresh(now)
    entry.failure = failure or entry.failure
    if not entry.failure and not state(entry.job).finished:
        entry.failure = f"ended after {entry.epochs} of {entry.job.epochs} epochs"
    entry.status = FAILED if entry.failure else FINISHED


def seconds_left(account: Sequence[QueueEntry], num_slots: int, now: float) -> float | None:
    """Seconds until the queue is finished, if the remaining epochs take as long as those of this call.

    A recipe that has not shown its speed yet is taken to be as fast as the mean of those that have. None before the first epoch.
    """
    known = [(entry.job.recipe, entry.epoch_seconds) for entry in account if entry.epoch_seconds is not None]
    if not known:
        return None

    def pace(entry: QueueEntry) -> float:
        own = [seconds for recipe, seconds in known if recipe == entry.job.recipe]
        return entry.epoch_seconds or mean(own or [seconds for _, seconds in known])

    running = [entry.seconds_left(pace(entry), now) for entry in account if entry.status == RUNNING]
    slots = running + [0.0] * (num_slots - len(running))
    heapq.heapify(slots)
    for work in (entry.epochs_left * pace(entry) for entry in account if entry.status == WAITING):
        heapq.heapreplace(slots, slots[0] + work)   # the next run begins where a slot comes free first
    return max(slots)


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def failures(account: Sequence[QueueEntry]) -> Iterator[QueueEntry]:
    return (entry for entry in account if entry.status == FAILED)
