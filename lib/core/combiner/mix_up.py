"""Examples mixed in pairs at the input."""
import torch
from torch import Tensor, nn

from lib.core.combiner.base import COMBINERS, Combiner, Step, mixed_step
from lib.dataset import Batch


@COMBINERS.register("mix_up")
class InputMixup(Combiner):
    """Images λ · x_a + (1 − λ) · x_b with partners from a permutation of the batch, λ ~ Beta(alpha, alpha), one per batch.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv:1710.09412.
    """

    def __init__(self, class_counts: Tensor, *, alpha: float = 1.0) -> None:
        super().__init__(class_counts)
        self.alpha = alpha

    def share(self, batch: Batch) -> float:
        return float(batch.stream.host.beta(self.alpha, self.alpha))

    def __call__(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Step:
        share = self.share(batch)
        partner = torch.randperm(len(batch.labels), generator=batch.stream.generator, device=batch.labels.device)
        logits, features = network(torch.lerp(batch.images[partner], batch.images, share))
        return mixed_step(criterion, logits, features, batch.labels, batch.labels[partner], share)
