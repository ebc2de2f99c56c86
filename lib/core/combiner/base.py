"""The contract every combiner follows, and what a step on mixed examples is."""
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from lib.dataset import Batch
from lib.utils.registry import Registry

COMBINERS = Registry("combiner")


class Step(NamedTuple):
    """What a combiner makes of a batch."""

    loss: Tensor     # scalar, with a graph
    logits: Tensor   # (B, C)
    targets: Tensor  # (B,) labels, or (B, C) shares of a mixed example's classes


class Combiner:
    """Calls as ``combiner(network, criterion, batch) -> Step``; random numbers come from ``batch.stream``.

    Args:
        class_counts: training images per class, (C,).
    """

    sampler: str | None = None   # the only sampler whose batches it understands, None for any

    def __init__(self, class_counts: Tensor) -> None:
        self.class_counts = class_counts

    def __call__(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Step:
        raise NotImplementedError(f"{type(self).__name__} must say what a step is")


def mixed_step(criterion: nn.Module, logits: Tensor, features: Tensor, labels: Tensor, others: Tensor, share: float) -> Step:
    """λ · L(z, y_a) + (1 − λ) · L(z, y_b) for one share λ of the first labels, (B,) both."""
    loss = share * criterion(logits, labels, features) + (1 - share) * criterion(logits, others, features)
    classes = logits.shape[1]
    return Step(loss, logits, share * F.one_hot(labels, classes) + (1 - share) * F.one_hot(others, classes))
