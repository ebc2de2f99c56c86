"""Chooses the validation images: a share of each class, by the content of the files."""
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lib.utils.text import name_some

FEW_IMAGES = 5   # validation images of a class below which its recall says little


def choose_validation(labels: np.ndarray, digests: Sequence[bytes], groups: np.ndarray, share: float, seed: int = 0,
                      minimum: int = 1) -> np.ndarray:
    """A mask of the validation images, bool (N,).

    Of a class with n images, round(share · n) are chosen, at least min(minimum, n // 2) and at most n − 1. A group stays on one
    side, so a class of large groups may come out with some more or less, and one that is a single group stays in training.

    Groups come in the order of SHA-256(seed, digest), so that neither names nor the order of the images matter, and an
    image that is added or lost moves few others. One is chosen where that brings its classes closer to their numbers.

    Args:
        labels: (N,).
        digests: of the files, (N).
        groups: (N,), number of each image's group; all different where there are no groups.
    """
    counts = np.bincount(labels)
    targets = np.minimum(np.maximum(np.round(share * counts).astype(int), np.minimum(minimum, counts // 2)),
                         np.maximum(counts - 1, 0))
    contents = count_groups(labels, groups)
    keys = order_keys(digests, groups, seed)
    of_class: dict[int, list[int]] = {}
    for group in sorted(contents, key=keys.__getitem__):
        for label in contents[group]:
            of_class.setdefault(label, []).append(group)
    chosen: set[int] = set()
    held = np.zeros_like(counts)

    def fits(group: int) -> bool:
        return group not in chosen and all(held[label] + size < counts[label] for label, size in contents[group].items())

    def gain(group: int) -> int:
        return sum(abs(held[label] - targets[label]) - abs(held[label] + size - targets[label])
                   for label, size in contents[group].items())

    def choose(group: int) -> None:
        chosen.add(group)
        for label, size in contents[group].items():
            held[label] += size

    rare_first = sorted(of_class, key=lambda label: (counts[label], label))
    for label in rare_first:
        for group in of_class[label]:
            if held[label] < targets[label] and fits(group) and gain(group) > 0:
                choose(group)
    for label in rare_first:   # those whose groups are all too large
        if held[label] == 0 < targets[label]:
            fitting = [group for group in of_class[label] if fits(group)]
            if fitting:
                choose(max(fitting, key=gain))
    return np.array([int(group) in chosen for group in groups], dtype=bool)


def count_groups(labels: np.ndarray, groups: np.ndarray) -> dict[int, Counter[int]]:
    """Images of each class in each group."""
    contents: dict[int, Counter[int]] = {}
    for label, group in zip(labels.tolist(), groups.tolist()):
        contents.setdefault(group, Counter())[label] += 1
    return contents


def order_keys(digests: Sequence[bytes], groups: np.ndarray, seed: int) -> dict[int, bytes]:
    """The smallest key of each group's members."""
    keys: dict[int, bytes] = {}
    salt = seed.to_bytes(16, "little", signed=True)
    for digest, group in zip(digests, groups.tolist()):
        key = hashlib.sha256(salt + digest).digest()
        keys[group] = min(keys.get(group, key), key)
    return keys


def describe_counts(class_names: Sequence[str], counts: Mapping[str, np.ndarray]) -> list[str]:
    """Classes without training or validation images, and those with few to validate, by name.

    Args:
        counts: part to images of each class, (C,); "train" and "valid" among them.
    """
    train, valid = counts["train"], counts["valid"]
    kinds = {
        "no training images": train == 0,
        "only one image, which is used for training": (train == 1) & (valid == 0),
        "no validation images": (train > 1) & (valid == 0),
        f"fewer than {FEW_IMAGES} validation images, so that their recall is not reliable": (valid > 0) & (valid < FEW_IMAGES)}
    return [f"{what}: {members.sum():,} of {len(members):,} classes "
            f"({name_some([class_names[label] for label in np.flatnonzero(members).tolist()])})"
            for what, members in kinds.items() if members.any()]
