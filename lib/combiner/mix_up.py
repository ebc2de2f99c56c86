"""Mixup: images are mixed in pairs."""
from typing import Annotated

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step, draw_partners, mixed_targets
from lib.dataset import Batch
from lib.net import Output
from lib.utils.options import Range


@COMBINERS.register("mix_up")
class InputMixup(Combiner):
    """Mixup: images λ · x_a + (1 − λ) · x_b with partners from a permutation of the batch, λ ~ Beta(alpha, alpha), one per batch.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv:1710.09412.
    """

    mixes = True

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 1.0) -> None:
        super().__init__(class_counts)
        self.alpha = alpha

    def share(self, batch: Batch) -> Tensor:
        """λ, (), with the dtype and device of the images; created on the device, which avoids a synchronising copy."""
        share = batch.stream.host.beta(self.alpha, self.alpha)
        return torch.full((), share, dtype=batch.images.dtype, device=batch.images.device)

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """λ, (), and each example's partner in the batch, (B,)."""
        return self.share(batch), draw_partners(len(batch.labels), 1, batch.stream.generator)[0]

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, share: Tensor,
                partner: Tensor) -> Step:
        output = network(torch.lerp(images[partner], images, share))
        return self.step(criterion, output, labels, labels[partner], share)

    def step(self, criterion: nn.Module, output: Output, labels: Tensor, others: Tensor, share: Tensor) -> Step:
        """The loss λ · L(z, y_a) + (1 − λ) · L(z, y_b), with the labels y_a and the labels of the partners y_b, (B,) each."""
        loss = share * criterion(output, labels) + (1 - share) * criterion(output, others)
        return Step(loss, output.logits, mixed_targets(labels, others, share, output.logits.shape[1]))
