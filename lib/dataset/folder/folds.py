"""Folds for cross-validation: each image is in the validation set of one fold."""
from collections.abc import Sequence

import numpy as np

from lib.dataset.folder.split import count_groups, order_keys


def choose_folds(labels: np.ndarray, digests: Sequence[bytes], groups: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold of each image, (N,), from 0.

    A class with n images has n // folds or one more in each fold, unless its groups, which are never divided, are larger. Large
    groups come first, then rare classes, then the order of SHA-256(seed, digest), so that neither names nor order matter. A
    group goes where its classes have the fewest images so far, and of such folds to the one with the fewest images in all.
    """
    contents, keys = count_groups(labels, groups), order_keys(digests, groups, seed)
    counts = np.bincount(labels)
    held, total, fold_of = np.zeros((folds, len(counts)), dtype=int), np.zeros(folds, dtype=int), {}

    def rarest(group: int) -> tuple[int, int]:
        return min((int(counts[label]), label) for label in contents[group])

    for group in sorted(contents, key=lambda group: (-contents[group].total(), rarest(group), keys[group])):
        own, sizes = np.array(list(contents[group])), np.array(list(contents[group].values()))
        crowd = (2 * held[:, own] * sizes + sizes**2).sum(axis=1)   # growth of the sum of squares
        fold = int(np.lexsort((total, crowd))[0])
        held[fold, own] += sizes
        total[fold] += sizes.sum()
        fold_of[group] = fold
    return np.array([fold_of[group] for group in groups.tolist()], dtype=np.int64)
