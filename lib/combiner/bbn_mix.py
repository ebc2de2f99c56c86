"""Mixup of the two rows of the bbn sampler."""
import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Step
from lib.combiner.mix_up import InputMixup
from lib.dataset import Batch


@COMBINERS.register("bbn_mix")
class DualMixup(InputMixup):
    """Mixup across the two rows of the bbn sampler: each image of the shuffled row is mixed with one of the row that favours rare
    classes, λ ~ Beta(alpha, alpha), one per batch.

    The sampling is that of Zhou et al., BBN, CVPR 2020, arXiv:1912.02413, the mixing that of Zhang et al., Bag of Tricks, AAAI
    2021.
    """

    rows = 2

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        return (self.share(batch),)

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, share: Tensor) -> Step:
        (images, others), (labels, other_labels) = images.chunk(2), labels.chunk(2)
        return self.step(criterion, network(torch.lerp(others, images, share)), labels, other_labels, share)
