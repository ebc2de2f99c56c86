"""Declarations of the values that an option accepts: ``gamma: Annotated[float, Range(0, 10)]``."""
import math
from typing import NamedTuple

MANY = 10**9
LARGEST = 2**63 - 1   # largest integer (int64)


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``; both bounds are included unless ``without_low`` or ``without_high`` excludes them."""

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    def complaint(self, number: float) -> str:
        """What is wrong with a number; empty if it is in the range."""
        if not math.isfinite(number):
            return f"must be a finite number, got {number}"
        if self.without_low and number <= self.low:
            return f"must be above {self.low:g}, got {number}"
        if number < self.low:
            return f"must not be negative, got {number}" if self.low == 0 else f"must be at least {self.low:g}, got {number}"
        if self.without_high and number >= self.high:
            return f"must be below {self.high:g}, got {number}"
        return f"must be at most {self.high:,}, got {number}" if number > self.high else ""


class Numbers(NamedTuple):
    """A list of at most ``most`` numbers, each in the range ``each``."""

    each: Range
    most: int = 100


class Choice(tuple):
    """A choice between texts: the values that an option can have."""

    def __new__(cls, *texts: str) -> "Choice":
        return super().__new__(cls, texts)


class FromCheckpoint(NamedTuple):
    """Marks an option that is a trained network; the configuration gives the path of its checkpoint."""

    owner: str   # role of the network, such as "the teacher", for messages


SHARE, BELOW_ONE, POWER = Range(0, 1), Range(0, 1, without_high=True), Range(0, 10)
EPOCHS = Range(0, MANY)
POSITIVE = Range(0, MANY, without_low=True)
