"""CutMix and CMO: a box of one image is pasted into another."""
import math
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Step, draw_partners
from lib.combiner.mix_up import InputMixup
from lib.dataset import Batch
from lib.utils.options import SHARE, Range


@COMBINERS.register("cut_mix")
class CutMix(InputMixup):
    """CutMix: a box of the partner's image replaces the same box of an image; labels are mixed in proportion to the areas.

    All images of a batch share one λ ~ Beta(alpha, alpha) and one box, see ``draw_box``; partners come from a permutation of the
    batch. The loss is λ' · L(z, y_a) + (1 − λ') · L(z, y_b), where λ' is the share of pixels outside the box. Yun et al., CutMix,
    ICCV 2019, arXiv:1905.04899.

    Args:
        probability: probability that a batch is mixed.
    """

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 1.0,
                 probability: Annotated[float, SHARE] = 1.0) -> None:
        super().__init__(class_counts, alpha=alpha)
        self.probability = probability

    def is_mixed(self, host: np.random.Generator) -> bool:
        return host.random() < self.probability

    def draw_mask(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """λ', (), and the mask of the replaced pixels, bool (H, W); created on the device, which avoids a synchronising copy."""
        height, width = batch.images.shape[-2:]
        mixed = self.is_mixed(batch.stream.host)
        top, bottom, left, right = draw_box(batch.stream.host, self.alpha, height, width) if mixed else (0, 0, 0, 0)
        device = batch.images.device
        rows, columns = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
        mask = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return torch.full((), share, dtype=batch.images.dtype, device=device), mask

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """λ', (), the mask, (H, W), and each example's partner in the batch, (B,)."""
        return *self.draw_mask(batch), draw_partners(len(batch.labels), 1, batch.stream.generator)[0]

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, share: Tensor, mask: Tensor,
                partner: Tensor) -> Step:
        return self.step(criterion, network(torch.where(mask, images[partner], images)), labels, labels[partner], share)


@COMBINERS.register("cmo")
class ContextOversampling(CutMix):
    """Context-rich minority oversampling (CMO): boxes from images of rare classes are pasted into images of the original data.

    The foreground is the second row of the bbn sampler, which draws each image with a probability ∝ 1 / n_c ** a (a = 1:
    BBN_SAMPLER.TYPE balance, as published). A batch is mixed with ``probability``, except in the first ``warm_up`` + 1 and the
    last ``warm_up`` epochs; a batch that is not mixed does not use the second row. λ' and loss are as in CutMix. Park et al., The
    Majority Can Help the Minority, CVPR 2022, arXiv:2112.00412; each rank decides for its own batches.
    """

    rows = 2

    def __init__(self, class_counts: Tensor, *, alpha: Annotated[float, Range(0.001, 1000)] = 1.0,
                 probability: Annotated[float, SHARE] = 0.5, warm_up: Annotated[int, Range(0, 10**6)] = 3) -> None:
        super().__init__(class_counts, alpha=alpha, probability=probability)
        self.warm_up, self.mixes_now = warm_up, True

    def on_epoch(self, epoch: int) -> None:
        self.mixes_now = self.max_epoch == 0 or self.warm_up + 1 < epoch <= self.max_epoch - self.warm_up

    def is_mixed(self, host: np.random.Generator) -> bool:
        return super().is_mixed(host) and self.mixes_now

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """λ', (), and the mask, (H, W)."""
        return self.draw_mask(batch)

    def combine(  # type: ignore[override]  # what is drawn has names here
            self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, share: Tensor, mask: Tensor) -> Step:
        (images, foreground), (labels, others) = images.chunk(2), labels.chunk(2)
        return self.step(criterion, network(torch.where(mask, foreground, images)), labels, others, share)


def draw_box(host: np.random.Generator, alpha: float, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box with about (1 − λ) of the pixels, λ ~ Beta(alpha, alpha).

    Its sides are int(H · √(1 − λ)) and int(W · √(1 − λ)), reduced by one pixel if odd, as in the authors' code. Its centre is
    uniform over the pixels, and the part outside the image is cut off.
    """
    side = math.sqrt(1 - host.beta(alpha, alpha))
    bounds = []
    for length in (height, width):
        half, centre = int(length * side) // 2, int(host.integers(length))
        bounds += [max(centre - half, 0), min(centre + half, length)]
    return bounds[0], bounds[1], bounds[2], bounds[3]
