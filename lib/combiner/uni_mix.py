"""UniMix: mixup that favours partners of rare classes, with shares that depend on both classes."""
from typing import Annotated

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step, mixed_targets
from lib.dataset import Batch
from lib.utils.options import Range


@COMBINERS.register("uni_mix")
class UniMix(Combiner):
    """UniMix: images λ_i · x_i + (1 − λ_i) · x_j, j drawn in the batch with a probability ∝ n_{y_j} ** tau for each example i.

    λ_i = n_j / (n_i + n_j) + b, b ~ Beta(alpha, alpha), minus 1 if that is above 1; the loss is the mean of
    λ_i · ℓ(z, y_i) + (1 − λ_i) · ℓ(z, y_j). Xu et al., Towards Calibrated Model for Long-Tailed Visual Recognition from Prior
    Perspective, NeurIPS 2021, arXiv:2111.03874; its second part, Bayias, is logit adjustment (LogitAdjustedCE).

    Args:
        alpha: published 0.8.
        tau: published −0.1 for CIFAR-100 and −0.5 for CIFAR-10.
    """

    mixes = True

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 0.8,
                 tau: Annotated[float, Range(-10, 10)] = -0.1) -> None:
        super().__init__(class_counts)
        self.alpha, self.tau = alpha, tau

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """b, (B,), and each example's partner in the batch, (B,)."""
        size, generator, device = len(batch.labels), batch.stream.generator, batch.labels.device
        gamma = torch._standard_gamma(torch.full((2, size), self.alpha, device=device), generator=generator)
        shares = gamma[0] / gamma.sum(dim=0).clamp_min(torch.finfo(gamma.dtype).tiny)
        weights = self.tau * self.class_counts[batch.labels].clamp_min(1).log()
        uniform = torch.rand(size, size, generator=generator, device=device).clamp_min(torch.finfo(torch.float32).tiny)
        partner = (weights - torch.log(-torch.log(uniform))).argmax(dim=1)   # Gumbel-max trick: probability ∝ exp(weights)
        return shares, partner

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, shares: Tensor,
                partner: Tensor) -> Step:
        others = labels[partner]
        own, other = self.class_counts[labels].double(), self.class_counts[others].double()
        whole = other / (own + other) + shares
        shares = torch.where(whole > 1, whole - 1, whole).to(images.dtype)
        output = network(torch.lerp(images[partner], images, shares.view(-1, 1, 1, 1)))
        loss = criterion(output, labels, sample_weight=shares) + criterion(output, others, sample_weight=1 - shares)
        return Step(loss, output.logits, mixed_targets(labels, others, shares, output.logits.shape[1]))
