"""Draws every image once."""
import torch
from torch import Generator, Tensor

from lib.dataset.sampler.base import SAMPLERS, Draw


@SAMPLERS.register("default")
class Shuffled(Draw):
    """A permutation of the training set."""

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        return torch.randperm(len(self.labels), generator=generator)[None]


class Chosen(Draw):
    """A permutation of some of the images.

    Args:
        rows: their numbers, (n,).
    """

    def __init__(self, labels: Tensor, class_counts: Tensor, max_epoch: int, rows: Tensor) -> None:
        super().__init__(labels, class_counts, max_epoch)
        self.chosen = rows

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        return self.chosen[torch.randperm(len(self.chosen), generator=generator)][None]


class Ordered(Draw):
    """The training set in its own order (TRAIN.SHUFFLE False)."""

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        return torch.arange(len(self.labels))[None]
