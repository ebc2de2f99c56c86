"""Balanced softmax: cross-entropy of the logits plus the log of the class counts."""
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, shifted_cross_entropy, weighted_mean
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("BalancedSoftmaxCE")
class BalancedSoftmaxCE(LongTailLoss):
    """Balanced softmax: −log softmax(z + log n)_y, averaged over the batch; plain cross-entropy in DRW's first stage.

    The logit of an empty class becomes −inf, which excludes it from the softmax. The loss of an example with such a label would
    be infinite; it is set to 0. (No training image has such a label.)
    Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, arXiv:2007.10740, Eq. 3.
    """

    prior_tau = 1.0

    log_counts: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None) -> None:
        super().__init__(class_counts, deferred)
        self.register_buffer("log_counts", class_counts.double().log().float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = at_least_float32(Output.of(output).logits)
        if not self.active:
            return weighted_mean(F.cross_entropy(logits, targets, reduction="none"), None, sample_weight)
        return weighted_mean(shifted_cross_entropy(logits, self.log_counts, targets), None, sample_weight)
