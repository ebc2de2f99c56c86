"""Cross-entropy divided by the influence of each example."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, rarity, sum_to_num_classes, weighted_mean
from lib.utils.options import POSITIVE
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32

EPSILON = 1e-3   # added to the influence, as in the paper's code


@LOSSES.register("InfluenceBalancedLoss")
class InfluenceBalancedLoss(LongTailLoss):
    """Influence-balanced loss: w_y · α · CE / (‖softmax(z) − onehot(y)‖₁ · ‖features‖₁ + .001), averaged over the batch; plain CE
    in DRW's first stage.

    w_c ∝ 1 / n_c, summing to C. The gradient flows through the whole factor, as in the published code.
    Park et al., Influence-Balanced Loss for Imbalanced Visual Classification, ICCV 2021, arXiv:2110.02444.

    Raises:
        ValueError: called in its influence-balanced stage with plain logits, without the features that the classifier received.
    """

    factors: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 alpha: Annotated[float, POSITIVE] = 1000.0) -> None:
        super().__init__(class_counts, deferred)
        factors = alpha * sum_to_num_classes(rarity(class_counts))
        self.register_buffer("factors", factors.float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        output = Output.of(output)
        losses = F.cross_entropy(at_least_float32(output.logits), targets, reduction="none")
        if self.active:
            if output.features is None:
                raise ValueError("InfluenceBalancedLoss needs the features (the classifier's input); pass an Output with them")
            distance = -2 * torch.expm1(-losses)   # ‖softmax(z) − onehot(y)‖₁ = 2 (1 − p_y), p_y = exp(−CE)
            influence = distance * at_least_float32(output.features).abs().sum(dim=1)
            losses = self.factors.to(losses.dtype)[targets] * losses / (influence + EPSILON)
        return weighted_mean(losses, None, sample_weight)
