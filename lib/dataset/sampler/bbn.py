"""Two images at a time: one as they come, one that favours rare classes."""
import torch
from torch import Generator, Tensor

from lib.dataset.sampler.base import SAMPLERS, Draw

POWERS = {"reverse": -1.0, "balance": 0.0}
TYPES = (*POWERS, "uniform")


@SAMPLERS.register("bbn sampler")
class Dual(Draw):
    """Row 1 a permutation; row 2 a class with probability ∝ 1 / n_c ("reverse"), equal ("balance"), or a permutation ("uniform").

    Zhou et al., BBN: Bilateral-Branch Network with Cumulative Learning, CVPR 2020, arXiv:1912.02413, section 4.2.
    """

    def __init__(self, labels: Tensor, class_counts: Tensor, max_epoch: int, *, type_: str = "reverse") -> None:
        super().__init__(labels, class_counts, max_epoch)
        self.kind = type_

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        count = int(self.class_counts.sum())
        first = torch.randperm(len(self.labels), generator=generator)[:count]
        if self.kind == "uniform":
            return torch.stack([first, torch.randperm(len(self.labels), generator=generator)[:count]])
        weights = self.class_counts.clamp_min(1) ** POWERS[self.kind]
        return torch.stack([first, self.by_class(weights, generator)])
