"""GCL: cross-entropy of cosine logits with random noise, which is larger for rarer classes."""
import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, WeightedLoss, effective_number_weights, log_prior
from lib.loss.ldam import DRW_BETA
from lib.utils.options import POWER, Range
from lib.utils.schedule import Deferred
from lib.utils.seed import uniform_at

DEVIATION = 1 / 3   # of the noise, which is cut off at three deviations, ±1


@LOSSES.register("GCL")
class GCL(WeightedLoss):
    """Gaussian clouded logits: the mean of (1 − p_y)^γ · CE(s · z), z_ic = cos_ic − μ · |ε_ic| · a_c; z_iy is lower by a margin.

    a_c = log(n_max / n_c) / log(n_max / n_min), 0 for the most frequent class and for an empty one, 1 for the rarest; ε is normal
    with deviation 1/3, cut off at ±1, and drawn for each example, class and batch. The focal factor (1 − p_y)^γ has no gradient.
    Cosines are of CLASSIFIER.TYPE FCNorm. Under DRW, class-balanced weights (β = .9999) from the second stage on.

    The noise is a function of the batch's seed (``on_batch``), the place in the batch and the label. So a second pass over a
    batch has the same noise. The second label of a mixture has different noise, unless both labels are equal.

    Li et al., Long-tailed Visual Recognition via Gaussian Clouded Logit Adjustment, CVPR 2022, arXiv:2305.11733. Values of the
    authors' code: first stage s 30, μ .5, margin 0, γ 0; second stage s 20, μ .5, margin .1, γ 1. Their validation loss includes
    the noise; here it is plain cross-entropy.

    Args:
        noise: μ.
        margin: subtracted from the cosine of the label.
        focal_gamma: γ; 0 is without the factor.
    """

    rebalances = False
    needs_classifier = "FCNorm"

    clouds: Tensor
    seed: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 scale: Annotated[float, Range(0, 1000, without_low=True)] = 30.0, noise: Annotated[float, Range(0, 2)] = 0.5,
                 margin: Annotated[float, Range(0, 2)] = 0.0, focal_gamma: Annotated[float, POWER] = 0.0) -> None:
        super().__init__(class_counts, deferred, effective_number_weights(class_counts, DRW_BETA))
        self.scale = self.evaluation_scale = scale
        self.margin, self.focal_gamma = margin, focal_gamma
        self.register_buffer("clouds", (noise * log_rarity(class_counts)).float(), persistent=False)
        self.register_buffer("seed", torch.tensor(0), persistent=False)

    def on_batch(self, seed: int) -> None:
        self.seed.fill_(seed)   # in place: a captured CUDA graph reads it from here

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        own = targets[:, None] == torch.arange(logits.shape[1], device=logits.device)
        shifts = self.clouds * noise_sizes(self.seed, targets, logits.shape[1]) + self.margin * own
        losses = F.cross_entropy(self.scale * (logits - shifts.to(logits.dtype)), targets, reduction="none")
        if self.focal_gamma:
            losses = (-torch.expm1(-losses.detach())) ** self.focal_gamma * losses
        return losses


def noise_sizes(seed: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """|ε| for each example and class, (B, C) in float32; it also depends on the labels ``targets``, (B,).

    |ε| is half-normal: DEVIATION · √2 · erfinv(u) for u uniform in [0, 1).
    """
    size, device = len(targets), targets.device
    rows = targets * size + torch.arange(size, device=device)
    places = rows[:, None] * num_classes + torch.arange(1, num_classes + 1, device=device)
    return (DEVIATION * math.sqrt(2) * torch.erfinv(uniform_at(seed, places))).clamp(max=1)


def log_rarity(class_counts: Tensor) -> Tensor:
    """log(n_max / n_c) / log(n_max / n_min), (C,) in float64; n_min is over the non-empty classes. It is 0 for an empty
    class, and for all classes if they have the same size."""
    logs = log_prior(class_counts)
    distances = torch.where(logs.isfinite(), logs.max() - logs, 0)
    return distances / distances.max() if distances.any() else distances
