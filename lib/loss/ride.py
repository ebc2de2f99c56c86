"""RIDE: experts with class margins, and a KL term that makes them differ from their mean."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, effective_number_weights, rarity, weighted_mean
from lib.loss.sade import experts_of
from lib.utils.options import SHARE, Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred

BETA = 0.9999   # of the class-balanced weights in DRW's second stage, as in the authors' code


@LOSSES.register("RIDE")
class RIDE(LongTailLoss):
    """Distribution-aware experts: Σ_e [CE(z_e − scale · m_y at the label) + diversity · T̄² · KL(softmax(z̄/T) ‖ softmax(z_e/T))].

    z̄ is the mean of the experts' logits, detached in the KL term; m_c = max_margin · (n_min / n_c) ** ¼. A negative ``diversity``
    pushes the experts apart. In DRW's second stage there are class-balanced weights (β = 0.9999) and temperatures
    T_c = (C · p_c · r + 1 − r) / max, r = reweight_factor; before it, T_c = 1. T̄ is the mean of T_c. With diversity 0 the
    cross-entropy of every expert is computed from z̄, as in the authors' code. Wang et al., Long-tailed Recognition by Routing
    Diverse Distribution-Aware Experts, ICLR 2021, arXiv:2010.01809; its routing, which saves time at inference, is not
    implemented.

    Args:
        diversity: published −0.45 for CIFAR; −0.2 is the code's default.
        reweight_factor: published 0.05; 0.02 for ImageNet-LT, 0.015 for iNaturalist.
        max_margin: published 0.5.
        scale: factor of the margin; equal to the scale of the logits, CLASSIFIER.CosineFC.SCALE.

    Raises:
        ValueError: called with an output that has no head ``experts``, (B, E, C).
    """

    rebalances = False
    needs_experts = True

    margins: Tensor
    class_weights: Tensor
    temperatures: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 diversity: Annotated[float, Range(-100, 100)] = -0.2, reweight_factor: Annotated[float, SHARE] = 0.05,
                 max_margin: Annotated[float, Range(0, 100)] = 0.5, scale: Annotated[float, Range(0.001, 10000)] = 30.0) -> None:
        super().__init__(class_counts, deferred)
        self.diversity, self.scale = diversity, scale
        shares = class_counts.double() / class_counts.sum()
        temperatures = len(class_counts) * shares * reweight_factor + 1 - reweight_factor
        self.register_buffer("margins", (max_margin * rarity(class_counts, 0.25)).float(), persistent=False)
        self.register_buffer("class_weights", effective_number_weights(class_counts, BETA).float(), persistent=False)
        self.register_buffer("temperatures", (temperatures / temperatures.max()).float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = experts_of(output, "RIDE")
        mean, size = logits.mean(dim=1, keepdim=True), logits.shape[1]
        own = targets[:, None] == torch.arange(logits.shape[2], device=logits.device)
        margins = self.scale * torch.where(own, self.margins.to(logits.dtype), 0)[:, None]
        judged = (mean.expand_as(logits) if self.diversity == 0 else logits) - margins
        labels = targets[:, None].expand(-1, size)
        losses = F.cross_entropy(judged.transpose(1, 2), labels, reduction="none").sum(dim=1)
        weights = self.class_weights.to(logits.dtype)[targets] if self.active else None
        return weighted_mean(losses, weights, sample_weight) + self.diversity * weighted_mean(
            self.divergence(logits, mean), None, sample_weight)

    def divergence(self, logits: Tensor, mean: Tensor) -> Tensor:
        """T̄² · Σ_e KL of each example, (B,)."""
        temperatures = self.temperatures.to(logits.dtype)
        temperatures = temperatures if self.active else torch.ones_like(temperatures)
        target = (mean.detach() / temperatures).log_softmax(dim=2)
        own = (logits / temperatures).log_softmax(dim=2)
        return temperatures.mean() ** 2 * (target.exp() * (target - own)).sum(dim=(1, 2))
