"""Progress lines for work on many images, every few seconds, with rate and remaining time."""
import logging
import time

log = logging.getLogger(__name__)

SHOW_SECONDS = 5   # between two lines of a Counter


def clock(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d}"


class Throttle:
    """A timer: ``due()`` is True at most once per ``seconds``, and never in the first ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


class Counter:
    """Progress lines of work that is counted in images, one every few seconds, and one at the end.

    Args:
        what: first words of the line.
        total: number of images to process.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started, self.throttle = time.monotonic(), Throttle(SHOW_SECONDS)

    def add(self, count: int) -> None:
        self.done += count
        if self.done == self.total or self.throttle.due():
            seconds = max(time.monotonic() - self.started, 1e-6)
            log.info("%s %d/%d images  %.0f images/s  ETA %s", self.what, self.done, self.total, self.done / seconds,
                     clock(seconds / self.done * (self.total - self.done)))
