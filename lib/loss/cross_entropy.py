"""Softmax cross-entropy, optionally with deferred re-weighting (DRW)."""
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss


@LOSSES.register("CrossEntropy")
class CrossEntropy(WeightedLoss):
    """Softmax cross-entropy: −log softmax(z)_y, averaged over the batch; under DRW weighted by n_min / n_c in the second stage.

    DRW: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019, arXiv:1906.07413.
    """

    rebalances = False
    prior_tau = 0.0

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")
