"""Finds images of a folder that are equal or nearly equal and must stay in the same part."""
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.folder.duplicates import Pair, number_groups
from lib.dataset.folder.groups import Groups
from lib.dataset.folder.near import SIDE, find_near
from lib.dataset.folder.source import Item
from lib.dataset.folder.verify import Look

log = logging.getLogger(__name__)

MANY = 20_000   # images whose comparison takes seconds


@dataclass(frozen=True)
class Copies:
    """Groups of images that must stay in one part, since they are copies of each other.

    Attributes:
        equal: (N,), equal numbers for images of equal pixels.
        near: pairs that are nearly equal. Of equal images one is compared, where possible one that makes the pair a problem.
        groups: (N,), equal numbers for what stays on one side: equal images, nearly equal ones, and those of one group.
    """

    equal: np.ndarray
    near: list[Pair]
    groups: np.ndarray


def find_copies(items: Sequence[Item], looks: Sequence[Look], near: bool) -> Copies:
    """Args:
        near: look for images that are nearly equal.
    """
    groups = Groups(len(items))
    groups.join_equal(look.pixels for look in looks)
    groups.join_equal(item.group for item in items)
    pairs = find_near_pairs(items, looks) if near else []
    for one, other, _ in pairs:
        groups.join(int(one), int(other))
    return Copies(number_groups([look.pixels for look in looks]), pairs, groups.numbers())


def find_near_pairs(items: Sequence[Item], looks: Sequence[Look]) -> list[Pair]:
    members: dict[bytes, list[int]] = {}
    for number, look in enumerate(looks):
        members.setdefault(look.pixels, []).append(number)
    if len(members) > MANY:
        log.info("comparing %s images, to find those that are nearly equal", f"{len(members):,}")
    contents = sorted(members)   # an order that depends on the pictures alone
    thumbnails = np.frombuffer(b"".join(looks[members[content][0]].thumbnail for content in contents), dtype=np.uint8)
    found, likeness = find_near(thumbnails.reshape(-1, SIDE * SIDE))
    return [Pair(*worst(members[contents[one]], members[contents[other]], items), value)
            for (one, other), value in zip(found.tolist(), likeness.tolist())]


def worst(ones: Sequence[int], others: Sequence[int], items: Sequence[Item]) -> tuple[int, int]:
    """A pair of equal images that differ in class and part, or else in one of the two, if there is one."""
    return max(((one, other) for one in ones for other in others),
               key=lambda pair: (items[pair[0]].label != items[pair[1]].label) + (items[pair[0]].part != items[pair[1]].part))
