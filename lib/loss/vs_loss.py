"""Vector scaling: each class has its own divisor and its own shift of the logits."""
from typing import Annotated

import torch
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, effective_number_weights, scaled_log_prior, shifted_cross_entropy
from lib.utils.options import POWER, Range
from lib.utils.schedule import Deferred

BETA = 0.9999   # of the class-balanced weights in DRW's second stage, as published


@LOSSES.register("VSLoss")
class VSLoss(WeightedLoss):
    """Vector scaling: cross-entropy of z_c / Δ_c + tau · log p_c, Δ_c = (n_max / n_c) ** gamma; predictions use z alone.

    With gamma 0 it is logit adjustment, with tau 0 it is CDT. DRW adds class-balanced weights (β = 0.9999) in its second stage.
    An empty class has the divisor 1 and the logit −∞. Kini et al., Label-Imbalanced and Group-Sensitive Classification under
    Overparameterization, NeurIPS 2021, arXiv:2103.01550; the paper multiplies by (n_c / n_max) ** gamma, which is the same.

    Args:
        gamma, tau: the authors' code uses 0.3 and 1 by default, and 0.2 and 1.2 for CIFAR-10-LT-100; the code of Focal-SAM (Li et
            al., ICML 2025) uses 0.05 and 0.75 for CIFAR-100-LT-100.
    """

    rebalances = False   # the class weights only; divisors and shifts always apply
    prior_tau = 1.0

    shift: Tensor
    divisors: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, gamma: Annotated[float, POWER] = 0.3,
                 tau: Annotated[float, Range(0, 10)] = 1.0) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, BETA))
        self.prior_tau = tau
        counts = class_counts.double()
        divisors = torch.where(counts > 0, (counts.max() / counts.clamp_min(1)) ** gamma, 1)
        self.register_buffer("divisors", divisors.float(), persistent=False)
        self.register_buffer("shift", scaled_log_prior(class_counts, tau).float(), persistent=False)

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        return shifted_cross_entropy(logits / self.divisors, self.shift, targets)
