"""Totals of an epoch (loss, correct predictions, images), which stay on the device."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from lib.combiner import Step
from lib.device.runtime import Runtime


class Totals(NamedTuple):
    """The columns of a row of totals, for one batch or for all batches so far. For several rows each column is a vector."""

    loss: Tensor        # mean loss · images
    correct: Tensor     # correct predictions; a mixed example counts with the share of the predicted class in its label
    images: Tensor
    skipped: Tensor     # steps
    first_bad: Tensor   # number of the first batch whose loss was not finite, else infinity; for a single batch 0 or infinity

    @classmethod
    def of(cls, rows: Tensor) -> "Totals":
        """Splits (…, 5) into the five columns, (…) each."""
        return cls(*rows.unbind(-1))


SUMMED = Totals._fields.index("first_bad")   # the columns before it are added up


class Means(NamedTuple):
    """Loss and accuracy of an epoch, over the images of all ranks."""

    loss: float
    accuracy: float
    skipped_steps: int


class Sums:
    """Epoch totals that stay on the device: one synchronisation per epoch, none per batch.

    Attributes:
        batches: number of batches that were added.
    """

    def __init__(self, device: torch.device) -> None:
        self.batches = 0
        self.total = torch.zeros(SUMMED, dtype=torch.double, device=device)   # the summed columns of Totals
        self.first_bad = torch.full((), math.inf, dtype=torch.double, device=device)   # batch whose loss was not finite

    def add(self, row: Tensor) -> None:
        """Adds a batch; ``row`` is the result of ``summands``."""
        self.batches += 1
        self.total += row[:SUMMED]
        self.first_bad = torch.minimum(self.first_bad, Totals.of(row).first_bad + self.batches)

    def means(self, runtime: Runtime) -> Means:
        """Mean loss and accuracy over the images of all ranks; all ranks skip the same steps."""
        loss, correct, images, skipped = runtime.all_reduce(self.total.clone()).tolist()
        return Means(loss / images, correct / images, round(skipped / runtime.world_size))

    def gather(self, runtime: Runtime) -> Tensor:
        """The totals of all ranks, (ranks, 5), on the CPU of every rank; ``restore`` takes the row of its rank."""
        return runtime.gather_rows(torch.cat([self.total, self.first_bad[None]])[None]).cpu()

    def restore(self, row: Tensor, batches: int) -> None:
        self.batches = batches
        self.total.copy_(row[:SUMMED])
        self.first_bad.copy_(Totals.of(row).first_bad)


@torch.no_grad()
def summands(step: Step, skipped: Tensor | float = 0.0) -> Tensor:
    """What a batch adds to the totals, (5,), see ``Totals``.

    Args:
        skipped: 1 if the update was skipped, see ``Precision.update``.
    """
    size = len(step.logits)
    loss = step.loss.detach().double() * size
    correct = num_correct(step.logits, step.targets).double()
    first_bad = torch.full_like(loss, math.inf).masked_fill(~loss.isfinite(), 0)
    return torch.stack(Totals(loss, correct, torch.full_like(loss, size), torch.zeros_like(loss) + skipped, first_bad))


def num_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Number of correct predictions. A mixed example counts with the share of the predicted class in its soft label."""
    predicted = logits.argmax(dim=1)
    if targets.dim() == 2:
        return targets.gather(1, predicted[:, None]).sum()
    return (predicted == targets).sum()
