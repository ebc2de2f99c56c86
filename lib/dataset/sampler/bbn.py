"""Draws pairs of images: one uniformly, one with a preference for rare classes."""
from typing import Annotated

import torch
from torch import Generator, Tensor

from lib.dataset.sampler.base import SAMPLERS, Draw
from lib.utils.options import Choice, Range

POWERS = {"reverse": 2.0, "balance": 1.0}
TYPES = (*POWERS, "uniform", "power")


@SAMPLERS.register("bbn sampler")
class Dual(Draw):
    """The draw of BBN: row 1 is a permutation; row 2 favours rare classes, an image of class c has a probability ∝ 1 / n_c ** a.

    "balance" a = 1, all classes are equally frequent; "reverse" a = 2, the rarest is the most frequent; "power" a = ``power``;
    "uniform" a permutation.
    Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning, CVPR 2020, arXiv:1912.02413, section 4.2.

    Args:
        power: a of "power".
    """

    rows = 2

    def __init__(self, labels: Tensor, class_counts: Tensor, max_epoch: int, *,
                 type_: Annotated[str, Choice(*TYPES)] = "reverse",
                 power: Annotated[float, Range(0, 10)] = 1.0) -> None:
        super().__init__(labels, class_counts, max_epoch)
        self.kind, self.power = type_, POWERS.get(type_, power)

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        count = int(self.class_counts.sum())
        first = torch.randperm(len(self.labels), generator=generator)[:count]
        if self.kind == "uniform":
            return torch.stack([first, torch.randperm(len(self.labels), generator=generator)[:count]])
        weights = self.class_counts.clamp_min(1) ** (1 - self.power)
        return torch.stack([first, self.by_class(weights, generator)])
