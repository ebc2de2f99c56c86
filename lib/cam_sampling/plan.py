"""The plan of CAM-based sampling: how many images of each class are generated, from which images, by which moves."""
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.dataset import ImageSet

STREAM = 3   # sets these random numbers apart from all others of the seed


class Plan(NamedTuple):
    """The images to generate, class after class; a function of the training set, the threshold and the seed alone."""

    labels: Tensor    # (M,)
    places: Tensor    # (M,) number within the class, from 0
    sources: Tensor   # (M,) which image of the training set is changed
    uniform: Tensor   # (M, 5) float64 in [0, 1), of which the moves are made


def num_added(class_counts: Tensor, threshold: int) -> Tensor:
    """n_max + n_min − n_c new images per class, (C,); with a threshold none where n_c reaches it, and else at most that many.

    n_max and n_min are taken over the classes that have images; a class without any gets none.

    Args:
        threshold: 0 for none.
    """
    filled = class_counts > 0
    added = class_counts.max() + class_counts[filled].min() - class_counts
    if threshold:
        added = torch.where(class_counts < threshold, added.clamp_max(threshold), 0)
    return torch.where(filled, added, 0)


def make_plan(images: ImageSet, threshold: int, seed: int) -> Plan:
    """Each new image comes from an image of its class, chosen uniformly with replacement.

    Args:
        threshold: 0 for none; ignored for sets whose classes are filled up to the same size.
    """
    counts = images.class_counts
    added = num_added(counts, 0 if images.fills_classes else threshold)
    classes = added.nonzero()[:, 0].tolist()
    drawn = [np.random.default_rng((seed, STREAM, number)).random((int(added[number]), 6)) for number in classes]
    uniform = torch.from_numpy(np.concatenate([np.empty((0, 6)), *drawn]))
    labels = torch.arange(len(counts)).repeat_interleave(added)
    starts = counts.cumsum(0) - counts
    by_label = images.labels.argsort(stable=True)
    sources = by_label[starts[labels] + (uniform[:, 0] * counts[labels]).long()]
    places = torch.arange(len(labels)) - (added.cumsum(0) - added)[labels]
    return Plan(labels, places, sources, uniform[:, 1:])
