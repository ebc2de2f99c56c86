"""Images that are equal, or nearly so: in two classes, on both sides of a split, or copies within a class."""
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lib.utils.text import NAMED, count, printable


class Pair(NamedTuple):
    """Two nearly equal images, by their numbers or names, with their correlation."""

    one: int | str
    other: int | str
    likeness: float


def number_groups(digests: Sequence[bytes]) -> np.ndarray:
    """A number for each image, (N,), equal for equal digests."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], dtype=np.int64)


def describe_equal(groups: np.ndarray, labels: np.ndarray, parts: np.ndarray, name: Callable[[int], str]) -> list[str]:
    """A line for each kind of equal images, with names; none where all images differ.

    Args:
        groups: (N,), see ``number_groups``.
        parts: (N,), number of the part of a set that is split already; zeros where it is not.
        name: of an image, by its number.
    """
    order = np.argsort(groups, kind="stable")
    sets = [members for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(members) > 1]
    between = [members for members in sets if len({*labels[members]}) > 1]
    across = [members for members in sets if len({*parts[members]}) > 1]
    copies = [members for members in sets if len({*labels[members]}) == len({*parts[members]}) == 1]
    lines = []
    if between:
        lines.append(f"in several classes, of which at most one is correct: {count(len(between), 'image')}, "
                     f"{examples(between, labels, name)}")
    if across:
        lines.append(f"in several parts, so that accuracy is also measured on training images: {count(len(across), 'image')}, "
                     f"{examples(across, parts, name)}")
    if copies:
        number = sum(len(members) - 1 for members in copies)
        lines.append(f"copies within their class: {count(number, 'image')}, "
                     f"{examples(copies, np.arange(len(labels)), name)}")
    return lines


def examples(sets: Sequence[np.ndarray], kinds: np.ndarray, name: Callable[[int], str]) -> str:
    """Two members of each of a few sets, which differ in their ``kinds``."""
    pairs = [(members[0], next(member for member in members if kinds[member] != kinds[members[0]])) for members in sets[:NAMED]]
    shown = ", ".join(f"'{printable(name(one))}' = '{printable(name(other))}'" for one, other in pairs)
    return shown + f" and {len(sets) - NAMED:,} more" * (len(sets) > NAMED)


def describe_near(pairs: Sequence[Pair], labels: np.ndarray, parts: np.ndarray, name: Callable[[int], str]) -> list[str]:
    """Does the same for nearly equal images; the most similar pairs first."""
    ordered = sorted(pairs, key=lambda pair: -pair.likeness)
    between = [pair for pair in ordered if labels[pair.one] != labels[pair.other]]
    across = [pair for pair in ordered if parts[pair.one] != parts[pair.other]]
    copies = [pair for pair in ordered if labels[pair.one] == labels[pair.other] and parts[pair.one] == parts[pair.other]]
    kinds = {"in several classes": between,
             "in several parts, so that accuracy is also measured on training images": across, "within their class": copies}
    lines = []
    for what, found in kinds.items():
        if found:
            couples = [[printable(name(int(number))) for number in (pair.one, pair.other)] for pair in found[:NAMED]]
            shown = ", ".join(f"'{one}' ≈ '{other}'" for one, other in couples)
            shown += f" and {len(found) - NAMED:,} more" * (len(found) > NAMED)
            lines.append(f"{what}: {count(len(found), 'pair')}, {shown}")
    return lines
