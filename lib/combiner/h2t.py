"""H2T: feature maps of class-balanced images, with some channels taken from instance-balanced images."""
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step
from lib.dataset import Batch
from lib.net import Graft
from lib.utils.options import SHARE


@COMBINERS.register("h2t")
class HeadToTail(Combiner):
    """Head to tail fusion (H2T): of the last feature maps (B, D, h, w) of the balanced row, ⌊share · D⌋ channels are replaced by
    those of the shuffled row, before pooling. Labels are those of the balanced row.

    The channels are drawn once for each batch, and for each expert separately. The rows come from the bbn sampler; with
    BBN_SAMPLER.TYPE balance, the second one is class-balanced. Li et al., Feature Fusion from Head to Tail for Long-Tailed Visual
    Recognition, AAAI 2024, arXiv:2306.06963: a second stage that trains the classifier alone. Both rows are one forward pass
    here and two in the authors' code, so that BatchNorm in train mode normalizes them together.

    Args:
        share: published 0.25 (CIFAR-100-LT).
    """

    rows = 2
    reads_maps = True

    def __init__(self, class_counts: Tensor, *, share: Annotated[float, SHARE] = 0.25) -> None:
        super().__init__(class_counts)
        self.share = share
        self.num_channels = self.num_experts = 0

    def expect(self, dims: Mapping[str, int]) -> None:
        self.num_channels, self.num_experts = dims["maps"], dims["experts"]

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """Which channels are replaced, bool (E · D,)."""
        generator, device = batch.stream.generator, batch.images.device
        orders = [torch.randperm(self.num_channels, generator=generator, device=device) for _ in range(self.num_experts)]
        return (torch.cat(orders) < int(self.share * self.num_channels),)

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, channels: Tensor) -> Step:
        (others, balanced), labels = images.chunk(2), labels.chunk(2)[1]
        output = network(balanced, graft=Graft(others, channels.expand(len(labels), -1)))
        return Step(criterion(output, labels), output.logits, labels)
