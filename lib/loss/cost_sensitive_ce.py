"""Cross-entropy weighted by inverse class size."""
from typing import Annotated

from torch import Tensor

from lib.loss.base import LOSSES, rarity
from lib.loss.cross_entropy import CrossEntropy
from lib.utils.options import POWER
from lib.utils.schedule import Deferred


@LOSSES.register("CostSensitiveCE")
class CostSensitiveCE(CrossEntropy):
    """Cost-sensitive cross-entropy: Σ w_y CE / Σ w_y with w_c = (n_min / n_c) ** gamma, from the first epoch, or from DRW's
    second stage on.

    Zhang et al., Bag of Tricks for Long-Tailed Visual Recognition, AAAI 2021; gamma 0.5 is its "square" form.
    """

    rebalances = True

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, gamma: Annotated[float, POWER] = 1.0) -> None:
        super().__init__(class_counts, deferred, rarity(class_counts, gamma))
