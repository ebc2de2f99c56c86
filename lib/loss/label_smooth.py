"""Label smoothing: a part of each label is spread over all classes."""
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss
from lib.utils.options import BELOW_ONE
from lib.utils.schedule import Deferred


@LOSSES.register("CrossEntropyLabelSmooth")
class CrossEntropyLabelSmooth(WeightedLoss):
    """Label smoothing: cross-entropy with the targets (1 − ε) · onehot + ε / C; under DRW weighted by n_min / n_y in the second
    stage.

    In the published code DRW had no effect on this loss. Szegedy et al., Rethinking the Inception Architecture for Computer
    Vision, CVPR 2016, arXiv:1512.00567, section 7.
    """

    rebalances = False
    prior_tau = 0.0

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 epsilon: Annotated[float, BELOW_ONE] = 0.1) -> None:
        super().__init__(class_counts, deferred)
        self.epsilon = epsilon

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.epsilon)
