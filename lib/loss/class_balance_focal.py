"""Focal loss with class-balanced weights, from the effective number of images per class."""
from typing import Annotated

from torch import Tensor

from lib.loss.base import LOSSES, effective_number_weights
from lib.loss.focal import FocalLoss
from lib.utils.options import BELOW_ONE, Range
from lib.utils.schedule import Deferred


@LOSSES.register("ClassBalanceFocal")
class ClassBalanceFocal(FocalLoss):
    """Class-balanced focal loss: the focal loss of each example times its class-balanced weight, averaged over the batch; plain
    focal loss in DRW's first stage.

    w_c ∝ (1 − β) / (1 − β ** n_c), summing to C. Cui et al., Class-Balanced Loss Based on Effective Number of Samples,
    CVPR 2019, arXiv:1901.05555, section 4.3.
    """

    rebalances = True

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, beta: Annotated[float, BELOW_ONE] = 0.999,
                 gamma: Annotated[float, Range(0, 20)] = 0.5) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, beta), gamma=gamma)
