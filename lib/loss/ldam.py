"""Cross-entropy with margins that are larger for rarer classes."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, effective_number_weights, rarity
from lib.utils.options import Range
from lib.utils.schedule import Deferred

DRW_BETA = 0.9999   # of the class-balanced weights in the second stage, as in the paper's code


@LOSSES.register("LDAMLoss")
class LDAMLoss(WeightedLoss):
    """Label-distribution-aware margins: cross-entropy of scale · (z − m_y at the true class), m_c = max_margin · (n_min / n_c)^¼.

    z are cosines, so the classifier must be FCNorm. Under DRW, class-balanced weights (β = 0.9999) apply from the second stage
    on; the published code starts it one epoch earlier. Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware
    Margin Loss, NeurIPS 2019, arXiv:1906.07413, Eq. 13.
    """

    rebalances = False
    needs_classifier = "FCNorm"

    margins: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, max_margin: Annotated[float, Range(0, 2)] = 0.5,
                 scale: Annotated[float, Range(0, 1000, without_low=True)] = 30.0) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, DRW_BETA))
        self.scale = self.evaluation_scale = scale
        self.register_buffer("margins", (max_margin * rarity(class_counts, 0.25)).float(), persistent=False)

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        # no scatter: in some versions of torch its deterministic kernel synchronises with the device
        own = targets[:, None] == torch.arange(logits.shape[1], device=logits.device)
        return F.cross_entropy(self.scale * (logits - own * self.margins.to(logits.dtype)), targets, reduction="none")
