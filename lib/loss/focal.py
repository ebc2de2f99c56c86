"""Focal loss: one-vs-all binary cross-entropy with less weight on easy examples."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, weighted_mean
from lib.utils.options import Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("FocalLoss")
class FocalLoss(WeightedLoss):
    """Focal loss: Σ_c −(1 − p_t)^γ · log p_t, averaged over the batch, p_t = sigmoid(z_c) at the label and 1 − sigmoid(z_c)
    elsewhere.

    Under DRW an example's loss is multiplied by n_min / n_y in the second stage; the divisor stays the size of the batch.
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002, Eq. 4.
    """

    rebalances = False

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, class_weights: Tensor | None = None, *,
                 gamma: Annotated[float, Range(0, 20)] = 2.0) -> None:
        super().__init__(class_counts, deferred, class_weights)
        self.gamma = gamma

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        signed = torch.where(F.one_hot(targets, logits.shape[1]).bool(), logits, -logits)   # p_t = sigmoid(signed)
        # (1 − p_t) ** γ via its logarithm: for γ < 1 the derivative of the power at 0 is infinite
        modulation = torch.exp(self.gamma * F.logsigmoid(-signed))
        return -(modulation * F.logsigmoid(signed)).sum(dim=1)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        losses = self.per_example(at_least_float32(Output.of(output).logits), targets)
        if self.active:
            losses = self.class_weights.to(losses.dtype)[targets] * losses
        return weighted_mean(losses, None, sample_weight)
