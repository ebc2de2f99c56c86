"""Totals of an epoch, which stay on the device."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from lib.combiner import Step
from lib.device.runtime import Runtime


class Totals(NamedTuple):
    """The columns of a row of totals, of one batch or of the batches so far. Of several rows each column is a vector."""

    loss: Tensor        # · images
    correct: Tensor     # shares of an example's label where it is mixed
    images: Tensor
    skipped: Tensor     # steps
    first_bad: Tensor   # number of the first batch whose loss was not finite, else infinity; of a batch 0 or infinity

    @classmethod
    def of(cls, rows: Tensor) -> "Totals":
        """(…, 5) to five tensors (…)."""
        return cls(*rows.unbind(-1))


SUMMED = Totals._fields.index("first_bad")   # columns before it are added up


class Means(NamedTuple):
    """Loss and accuracy of an epoch, over the images of all ranks."""

    loss: float
    accuracy: float
    skipped_steps: int


class Sums:
    """Epoch totals that stay on the device: one synchronisation per epoch, none per batch.

    Attributes:
        batches: how many were added.
    """

    def __init__(self, device: torch.device) -> None:
        self.batches = 0
        self.total = torch.zeros(SUMMED, dtype=torch.double, device=device)   # the summed columns of Totals
        self.first_bad = torch.full((), math.inf, dtype=torch.double, device=device)   # batch whose loss was not finite

    def add(self, row: Tensor) -> None:
        """``row``: of the batch, see ``summands``."""
        self.batches += 1
        self.total += row[:SUMMED]
        self.first_bad = torch.minimum(self.first_bad, Totals.of(row).first_bad + self.batches)

    def means(self, runtime: Runtime) -> Means:
        """Mean loss and accuracy over the images of all ranks, who all skip the same steps."""
        loss, correct, images, skipped = runtime.all_reduce(self.total.clone()).tolist()
        return Means(loss / images, correct / images, round(skipped / runtime.world_size))

    def gather(self, runtime: Runtime) -> Tensor:
        """Every rank's state, (ranks, 5), on every rank's CPU; ``restore`` continues from this rank's row."""
        return runtime.gather_rows(torch.cat([self.total, self.first_bad[None]])[None]).cpu()

    def restore(self, row: Tensor, batches: int) -> None:
        self.batches = batches
        self.total.copy_(row[:SUMMED])
        self.first_bad.copy_(Totals.of(row).first_bad)


@torch.no_grad()
def summands(step: Step, skipped: Tensor | float = 0.0) -> Tensor:
    """What a batch adds to the totals, (5,), see ``Totals``.

    Args:
        skipped: 1 where the update was left out, see ``Precision.update``.
    """
    size = len(step.logits)
    loss = step.loss.detach().double() * size
    correct = num_correct(step.logits, step.targets).double()
    first_bad = torch.full_like(loss, math.inf).masked_fill(~loss.isfinite(), 0)
    return torch.stack(Totals(loss, correct, torch.full_like(loss, size), torch.zeros_like(loss) + skipped, first_bad))


def num_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of each example's credit: 1 or 0 for a label, the share of the predicted class where examples are mixed."""
    predicted = logits.argmax(dim=1)
    if targets.dim() == 2:
        return targets.gather(1, predicted[:, None]).sum()
    return (predicted == targets).sum()
