"""Logit adjustment: the log of the class prior is added to the logits in training."""
from typing import Annotated

from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, effective_number_weights, scaled_log_prior, shifted_cross_entropy
from lib.utils.options import Range
from lib.utils.schedule import Deferred

BETA = 0.9999   # of the class-balanced weights in DRW's second stage, as published


@LOSSES.register("LogitAdjustedCE")
class LogitAdjustedCE(WeightedLoss):
    """Logit adjustment: cross-entropy of z + tau · log p, p_c = n_c / N; predictions use z alone.

    With tau 1 it is balanced softmax. DRW adds class-balanced weights (β = 0.9999) in its second stage; the prior is added from
    the first epoch on. An empty class has the logit −∞ for every tau. With a cosine classifier the prior is added to the scaled
    cosines. Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, arXiv:2007.07314, Eq. 10; weights as in the code
    of Zhu et al., CVPR 2022, arXiv:2207.09052.

    Args:
        tau: weight of the prior, published 1.
    """

    rebalances = False   # the class weights only; the prior is always added
    prior_tau = 1.0

    shift: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 tau: Annotated[float, Range(0, 10)] = 1.0) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, BETA))
        self.prior_tau = tau
        self.register_buffer("shift", scaled_log_prior(class_counts, tau).float(), persistent=False)

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        return shifted_cross_entropy(logits, self.shift, targets)
