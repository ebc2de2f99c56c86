"""Label smoothing that is stronger for frequent classes."""
import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss
from lib.utils.errors import UnknownNameError
from lib.utils.options import BELOW_ONE, Choice
from lib.utils.registry import closest
from lib.utils.schedule import Deferred

RISES = {   # from 0 for the rarest class to 1 for the most frequent one, by place = (n_c − n_min) / (n_max − n_min)
    "concave": lambda place: torch.sin(math.pi / 2 * place),
    "linear": lambda place: place,
    "convex": lambda place: 1 + torch.sin(3 * math.pi / 2 + math.pi / 2 * place),
}
SHAPES = tuple(RISES)


@LOSSES.register("CrossEntropyLabelAwareSmooth")
class CrossEntropyLabelAwareSmooth(WeightedLoss):
    """Label-aware smoothing: (1 − ε_y) · CE + ε_y · mean over the classes of −log p; under DRW weighted by n_min / n_y in the
    second stage.

    ε_c rises from ``smooth_tail`` at n_min to ``smooth_head`` at n_max as a function of (n_c − n_min) / (n_max − n_min). If all
    classes have the same size, it is ``smooth_head``. In the published code DRW had no effect on this loss.
    Zhong et al., Improving Calibration for Long-Tailed Recognition, CVPR 2021, arXiv:2104.00466.

    Args:
        shape: how ε_c rises, "concave", "linear" or "convex".

    Raises:
        UnknownNameError: ``shape`` is none of these.
    """

    rebalances = False

    epsilon: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, smooth_head: Annotated[float, BELOW_ONE] = 0.4,
                 smooth_tail: Annotated[float, BELOW_ONE] = 0.1, shape: Annotated[str, Choice(*SHAPES)] = "concave") -> None:
        super().__init__(class_counts, deferred)
        if shape not in RISES:
            raise UnknownNameError(f"LOSS.CrossEntropyLabelAwareSmooth.SHAPE: unknown shape {shape!r}; {closest(shape, RISES)}")
        epsilon = smooth_tail + (smooth_head - smooth_tail) * RISES[shape](place_in_profile(class_counts))
        self.register_buffer("epsilon", epsilon.float(), persistent=False)

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probabilities = F.log_softmax(logits, dim=1)
        epsilon = self.epsilon.to(logits.dtype)[targets]
        return (1 - epsilon) * F.nll_loss(log_probabilities, targets, reduction="none") - epsilon * log_probabilities.mean(dim=1)


def place_in_profile(class_counts: Tensor) -> Tensor:
    """(n_c − n_min) / (n_max − n_min), (C,) in float64; n_min is the smallest non-empty class, and an empty class gets 0."""
    counts = class_counts.double()
    low, high = counts[counts > 0].min(), counts.max()
    return (counts.clamp_min(low) - low) / (high - low) if high > low else torch.ones_like(counts)
