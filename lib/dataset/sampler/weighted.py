"""Draws classes by a power of their size."""
from typing import Annotated

from torch import Generator, Tensor

from lib.dataset.sampler.base import SAMPLERS, Draw
from lib.utils.options import Choice

POWERS = {"balance": 0.0, "square": 0.5}
TYPES = (*POWERS, "progressive")


@SAMPLERS.register("weighted sampler")
class Weighted(Draw):
    """Weighted sampling: a class with probability ∝ n_c ** q, then an image of it uniformly; as many draws as there are images.

    "balance" q = 0, "square" q = ½; "progressive" moves from the images' frequencies to balance along the training:
    (e / E) / C + (1 − e / E) n_c / N at epoch e of E, the absolute epoch under DRS too, as published.
    Kang et al., Decoupling Representation and Classifier, ICLR 2020, arXiv:1910.09217, Eq. 1 and 3.
    """

    def __init__(self, labels: Tensor, class_counts: Tensor, max_epoch: int, *,
                 type_: Annotated[str, Choice(*TYPES)] = "balance") -> None:
        super().__init__(labels, class_counts, max_epoch)
        self.kind = type_

    def probability(self, epoch: int) -> Tensor:
        """(C,), not normalised; a class without images gets none of it in ``by_class``."""
        if self.kind == "progressive":
            done = epoch / self.max_epoch
            return done / len(self.class_counts) + (1 - done) * self.class_counts / self.class_counts.sum()
        return self.class_counts ** POWERS[self.kind]

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        return self.by_class(self.probability(epoch), generator)[None]
