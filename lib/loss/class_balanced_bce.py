"""Binary cross-entropy of softmax probabilities with class-balanced weights, from the effective number of images per class."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, effective_number_weights, weighted_mean
from lib.utils.options import BELOW_ONE
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("ClassBalancedBCE")
class ClassBalancedBCE(LongTailLoss):
    """Class-balanced binary cross-entropy: −(w_y / C) · [log p_y + Σ_{c ≠ y} log(1 − p_c)], p = softmax(z), averaged over the
    batch; w = 1 in DRW's first stage.

    w_c ∝ (1 − β) / (1 − β ** n_c), summing to C. The loss of the second stage of weight balancing: Alshammari et al., Long-Tailed
    Recognition via Weight Balancing, CVPR 2022, arXiv:2203.14197, after Cui et al., CVPR 2019, arXiv:1901.05555.
    """

    class_weights: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 beta: Annotated[float, BELOW_ONE] = 0.9999) -> None:
        super().__init__(class_counts, deferred)
        self.register_buffer("class_weights", effective_number_weights(class_counts, beta).float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = at_least_float32(Output.of(output).logits)
        own = targets[:, None] == torch.arange(logits.shape[1], device=logits.device)
        log_p = F.log_softmax(logits, dim=1)
        losses = -torch.where(own, log_p, log_complement(log_p)).mean(dim=1)
        if self.active:
            losses = self.class_weights.to(losses.dtype)[targets] * losses
        return weighted_mean(losses, None, sample_weight)


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 − p) from log p; if p rounds to 1, the largest number below 1 is used for p."""
    largest = -torch.finfo(log_p.dtype).eps / 2
    return torch.log(-torch.expm1(log_p.clamp(max=largest)))
