"""Cross-entropy with class-balanced weights, from the effective number of images per class."""
from typing import Annotated

from torch import Tensor

from lib.loss.base import LOSSES, effective_number_weights
from lib.loss.cross_entropy import CrossEntropy
from lib.utils.options import BELOW_ONE
from lib.utils.schedule import Deferred


@LOSSES.register("ClassBalanceCE")
class ClassBalanceCE(CrossEntropy):
    """Class-balanced cross-entropy: Σ w_y CE / Σ w_y with w_c ∝ (1 − β) / (1 − β ** n_c), from the first epoch, or from DRW's
    second stage on.

    β = 0 is plain cross-entropy; for β → 1 the weights tend to 1 / n_c. Cui et al., Class-Balanced Loss Based on Effective Number
    of Samples, CVPR 2019, arXiv:1901.05555, section 4.1.
    """

    rebalances = True

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 beta: Annotated[float, BELOW_ONE] = 0.999) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, beta))
