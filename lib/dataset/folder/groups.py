"""Groups of images that belong together."""
from collections.abc import Iterable, Sequence

import numpy as np

COPIES = "copies"   # begins the names of groups that were found, not given


class Groups:
    """Disjoint sets of the numbers below ``count``, by union and find."""

    def __init__(self, count: int) -> None:
        self.above = list(range(count))

    def find(self, number: int) -> int:
        while self.above[number] != number:
            self.above[number] = self.above[self.above[number]]
            number = self.above[number]
        return number

    def join(self, one: int, other: int) -> None:
        roots = sorted((self.find(one), self.find(other)))
        self.above[roots[1]] = roots[0]

    def join_equal(self, values: Iterable[object]) -> None:
        """Joins the numbers whose values, which come in their order, are equal; empty values equal none."""
        first: dict[object, int] = {}
        for number, value in enumerate(values):
            if value:
                self.join(number, first.setdefault(value, number))

    def numbers(self) -> np.ndarray:
        """A number for each element, (count,), equal within a group."""
        return np.array([self.find(number) for number in range(len(self.above))], dtype=np.int64)


def name_groups(groups: np.ndarray, given: Sequence[str], digests: Sequence[str]) -> list[str]:
    """A name for the group of each image; empty for an image that is in no group.

    A group has the first of the names that were given to its members, else one made of the smallest digest, so that the same
    images have the same name anywhere.
    """
    members: dict[int, list[int]] = {}
    for number, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(number)
    names = {}
    for group, numbers in members.items():
        own = sorted(filter(None, (given[number] for number in numbers)))
        names[group] = own[0] if own else f"{COPIES}-{min(digests[number] for number in numbers)[:8]}" * (len(numbers) > 1)
    return [names[group] for group in groups.tolist()]
