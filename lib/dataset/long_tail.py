"""The published rule that makes a balanced set long-tailed.

The profile is that of Cui et al., CVPR 2019 (arXiv:1901.05555), the choice of images that of Cao et al., NeurIPS 2019
(arXiv:1906.07413).
"""
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError
from lib.utils.options import Choice, Range

Ratio = Annotated[float, Range(0, 1, without_low=True)]
SubsetSeed = Annotated[int, Range(0, 2**32 - 1)]   # numpy's
Profile = Annotated[str, Choice("exp", "step")]


def long_tail_counts(largest: int, num_classes: int, ratio: float, profile: str) -> list[int]:
    """Images to keep of each class, in label order: "exp" int(n_max · r ** (c / (C − 1))); "step" n_max, then int(n_max · r)."""
    if profile == "exp":
        return [int(largest * ratio ** (number / max(num_classes - 1, 1))) for number in range(num_classes)]
    return [largest] * (num_classes // 2) + [int(largest * ratio)] * (num_classes - num_classes // 2)


def long_tail_subset(labels: Tensor, num_classes: int, ratio: float, random_seed: int, profile: str,
                     source: object = "the set", key: str = "DATASET.IMBALANCECIFAR.RATIO") -> Tensor:
    """Indices of the images to keep, class after class, exactly those that the published code kept.

    It seeded numpy's legacy generator, and for each class in label order shuffled the class's indices and took the first
    n_c. n_max is the size of the smallest class, which for a balanced set is N / C.

    Args:
        source: where the images come from, for messages.
        key: where ``ratio`` comes from, likewise.

    Raises:
        InputError: a class has no image, or the rule leaves it none.
    """
    largest, smallest = (int(value) for value in torch.bincount(labels, minlength=num_classes).min(dim=0))
    if largest == 0:
        raise InputError(f"{source}: no image of class {smallest}, of {num_classes} classes numbered from 0")
    counts = long_tail_counts(largest, num_classes, ratio, profile)
    if min(counts) == 0:
        raise InputError(f"{key}: {ratio} leaves {counts.count(0)} of {num_classes} classes without an image, since {source} has "
                         f"{largest} of class {smallest}; at least {1 / largest:.4g} keeps one of each")
    legacy = np.random.RandomState(random_seed)
    chosen = []
    for number, count in enumerate(counts):
        own = np.flatnonzero(labels.numpy() == number)
        legacy.shuffle(own)
        chosen.append(own[:count])
    return torch.from_numpy(np.concatenate(chosen))
