"""Cross-entropy weighted by a power of the class prior."""
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, rarity, sum_to_num_classes
from lib.utils.options import POWER
from lib.utils.schedule import Deferred


@LOSSES.register("GeneralizedReweightCE")
class GeneralizedReweightCE(WeightedLoss):
    """Generalised re-weighting: Σ w_y CE / Σ w_y with w_c ∝ (1 / p_c) ** rho; from the first epoch, or from DRW's second stage.

    p_c = n_c / N; the weights sum to C, and an empty class gets 0. The loss of DisAlign's second stage: Zhang et al.,
    Distribution Alignment: A Unified Framework for Long-Tail Visual Recognition, CVPR 2021, arXiv:2103.16370, Eq. 10.

    Args:
        rho: published 1.2 for classification; 0 is plain cross-entropy.
    """

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, rho: Annotated[float, POWER] = 1.2) -> None:
        super().__init__(class_counts, deferred, sum_to_num_classes(rarity(class_counts, rho)))

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")
