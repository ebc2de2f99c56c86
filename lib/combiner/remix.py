"""Remix: mixup whose labels favour the rarer class."""
from typing import Annotated

from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Step, mixed_targets
from lib.combiner.mix_up import InputMixup
from lib.net import Output
from lib.utils.options import MANY, SHARE, Range


@COMBINERS.register("remix")
class Remix(InputMixup):
    """Remix: images are mixed with λ as in mix_up, labels with a λ_y that is computed for each example.

    λ_y = 0 if n_a / n_b ≥ kappa and λ < tau; 1 if n_a / n_b ≤ 1 / kappa and 1 − λ < tau; else λ. Chou et al., Remix:
    Rebalanced Mixup, ECCV 2020 workshops, arXiv:2007.03943, Eq. 10.

    Args:
        kappa: ratio of class sizes from which the label can be that of the rarer class alone.
        tau: the label is that of the rarer class if the share of the more frequent class in the image is below this value.
        per_sample: each example has its own λ_y in Σ λ_y ℓ(z, y_a) + (1 − λ_y) ℓ(z, y_b), as in the paper. If False, the mean
            of λ_y multiplies the losses averaged over the batch, as in the published code and its tables.
    """

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 1.0,
                 kappa: Annotated[float, Range(1, MANY)] = 3.0, tau: Annotated[float, SHARE] = 0.5,
                 per_sample: bool = True) -> None:
        super().__init__(class_counts, alpha=alpha)
        self.kappa, self.tau, self.per_sample = kappa, tau, per_sample

    def label_shares(self, labels: Tensor, others: Tensor, share: Tensor) -> Tensor:
        """λ_y, (B,)."""
        counts = self.class_counts.double()   # so that a ratio that equals kappa compares as equal
        own, other = counts[labels], counts[others]
        shares = share.expand(len(labels)).masked_fill((other / own >= self.kappa) & (1 - share < self.tau), 1.0)
        return shares.masked_fill((own / other >= self.kappa) & (share < self.tau), 0.0)

    def step(self, criterion: nn.Module, output: Output, labels: Tensor, others: Tensor, share: Tensor) -> Step:
        shares = self.label_shares(labels, others, share)
        if not self.per_sample:
            return super().step(criterion, output, labels, others, shares.mean())
        loss = criterion(output, labels, sample_weight=shares) + criterion(output, others, sample_weight=1 - shares)
        return Step(loss, output.logits, mixed_targets(labels, others, shares, output.logits.shape[1]))
