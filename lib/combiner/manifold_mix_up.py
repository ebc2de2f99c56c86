"""Manifold mixup: hidden states are mixed in pairs."""
from typing import Annotated

from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Step, draw_partners
from lib.combiner.mix_up import InputMixup
from lib.dataset import Batch
from lib.net import Mix
from lib.utils.options import Range


@COMBINERS.register("manifold_mix_up")
class ManifoldMixup(InputMixup):
    """Manifold mixup: hidden states λ · h_a + (1 − λ) · h_b after one layer, λ ~ Beta(alpha, alpha), one per batch.

    Partners come from a permutation of the batch; under DataParallel, of each device's part, since a device has the hidden states
    of its own part only. Verma et al., Manifold Mixup, ICML 2019, arXiv:1806.05236, at a fixed layer.

    Args:
        location: a stage of the backbone ("layer1", …), "pool" (the features) or "fc" (the logits).
    """

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 1.0,
                 location: str = "pool") -> None:
        super().__init__(class_counts, alpha=alpha)
        self.location = location

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """λ, (), and each example's partner in the batch and in its chunk, (B,) both."""
        return self.share(batch), *draw_partners(len(batch.labels), num_chunks, batch.stream.generator)

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, share: Tensor,
                partner: Tensor, partner_in_chunk: Tensor) -> Step:
        output = network(images, Mix(self.location, partner_in_chunk, share.expand(len(labels))))
        return self.step(criterion, output, labels, labels[partner], share)
