"""Chooses the part of each image of a folder if neither the folder nor a file defines it."""
from collections.abc import Iterator, Sequence

import numpy as np

from lib.dataset.folder.folds import choose_folds
from lib.dataset.folder.layout import TEST, TRAIN, VALID
from lib.dataset.folder.split import choose_validation


class Parts:
    """The parts of images, some of which may be given.

    Args:
        given: train, valid, test, or empty where it is open, (N,).
        labels: (N,).
        digests: of the files, (N,).
        groups: (N,), equal for images that stay on one side.

    Attributes:
        parts: text, (N,).
        remarks: what was given and what was made of it.
    """

    def __init__(self, given: Sequence[str], labels: np.ndarray, digests: Sequence[bytes], groups: np.ndarray, seed: int) -> None:
        self.parts = np.array(given, dtype=object)
        self.labels, self.digests, self.groups, self.seed = labels, digests, groups, seed

    def has(self, part: str) -> bool:
        return bool((self.parts == part).any())

    def carve(self, part: str, share: float, minimum: int) -> None:
        """Takes a share of the training images, and of those that are in no part, for ``part``."""
        pool = self.pool(TRAIN, "")
        self.parts[pool] = TRAIN
        chosen = choose_validation(*self.of(pool), share, self.seed, minimum)
        self.parts[pool[chosen]] = part

    def close(self) -> None:
        """Assigns all remaining images to training."""
        self.parts[self.pool("")] = TRAIN

    def fold(self, folds: int, number: int) -> None:
        """Redistributes training and validation images: fold ``number``, from 1, is for validation."""
        pool = self.pool(TRAIN, VALID, "")
        chosen = choose_folds(*self.of(pool), folds, self.seed) == number - 1
        self.parts[pool] = np.where(chosen, VALID, TRAIN)

    def pool(self, *parts: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.parts.astype(str), parts))

    def of(self, pool: np.ndarray) -> tuple[np.ndarray, list[bytes], np.ndarray]:
        return self.labels[pool], [self.digests[number] for number in pool], self.groups[pool]


def choose_parts(parts: Parts, shares: tuple[float, float], minimum: int, folds: int, fold: int) -> Iterator[str]:
    """Chooses the open parts; yields remarks on the choice.

    Args:
        shares: of each class, for validation and for the test.
    """
    valid_share, test_share = shares
    if parts.has(TEST) and test_share:
        yield "DATASET.FOLDER.TEST_SHARE: not used, since there are test images"
    elif test_share:
        parts.carve(TEST, test_share, minimum)
        valid_share /= 1 - test_share
    if folds:
        if parts.has(VALID):
            yield f"DATASET.FOLDER.FOLDS: {folds} folds of training and validation images together; test images stay apart"
        parts.fold(folds, fold)
    elif not parts.has(VALID) and valid_share:
        parts.carve(VALID, min(valid_share, 1.0), minimum)
    parts.close()
