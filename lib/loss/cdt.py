"""Cross-entropy with temperatures that are higher for rarer classes."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, weighted_mean
from lib.utils.options import POWER
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("CDT")
class CDT(LongTailLoss):
    """Class-dependent temperatures: cross-entropy of z / a with a_c = (n_max / n_c) ** γ; plain cross-entropy in DRW's first
    stage.

    The divisor of an empty class is 1. Predictions use z without the divisor.
    Ye et al., Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning, 2020, arXiv:2001.01385.
    """

    temperatures: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, gamma: Annotated[float, POWER] = 0.2) -> None:
        super().__init__(class_counts, deferred)
        counts = class_counts.double()
        temperatures = torch.where(counts > 0, (counts.max() / counts.clamp_min(1)) ** gamma, 1)
        self.register_buffer("temperatures", temperatures.float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = at_least_float32(Output.of(output).logits)
        if self.active:
            logits = logits / self.temperatures
        return weighted_mean(F.cross_entropy(logits, targets, reduction="none"), None, sample_weight)
