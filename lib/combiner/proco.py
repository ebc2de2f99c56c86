"""ProCo: two additional views of each image, contrasted with the estimated feature distribution of each class."""
from collections.abc import Mapping
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step
from lib.combiner.bcl import WEIGHT, first_of
from lib.combiner.von_mises_fisher import Directions, class_sums, log_expectations, random_means
from lib.dataset import Batch
from lib.device.runtime import sum_over_ranks
from lib.loss.base import log_prior, shifted_cross_entropy
from lib.utils.errors import InputError
from lib.utils.options import Range
from lib.utils.part import Context

LEAST_DIMS = 3


@COMBINERS.register("proco")
class ProbabilisticContrast(Combiner):
    """Probabilistic contrastive learning: L(first view) + contrast_weight · mean over the two further views of CE(g + log p).

    g_c is the logarithm of the expected similarity of a view's vector with class c (``log_expectations``), as if each batch had
    infinitely many vectors of each class. A class's distribution is estimated from the mean of all its vectors since the start of
    the previous epoch, this batch included. The means are buffers, which are saved and resumed. Du et al., Probabilistic
    Contrastive Learning for Long-Tailed Visual Recognition, TPAMI 2024, arXiv:2403.06726; its loss is logit adjustment
    (BalancedSoftmaxCE).

    All views pass through the network in one forward pass; accuracy is that of the first view. Sums are added over the ranks, so
    that all ranks hold the same means. With several passes (SAM), each pass starts from the means before the step; those of the
    last pass are kept.

    Args:
        contrast_weight: α, published 1.
        temperature: T, published 0.1 for CIFAR, 0.07 for ImageNet-LT.

    Attributes:
        means, counts: mean vectors and numbers of vectors, (2, C, d) and (2, C): those used in this epoch, then those collected
            for the next one.
    """

    views = 2
    needs_heads = ("projection",)
    sums_examples = False
    whole_batches = True

    means: Tensor
    counts: Tensor
    next_means: Tensor
    next_counts: Tensor
    prior: Tensor

    def __init__(self, class_counts: Tensor, *, contrast_weight: Annotated[float, WEIGHT] = 1.0,
                 temperature: Annotated[float, Range(0.001, 100)] = 0.1) -> None:
        super().__init__(class_counts)
        self.contrast_weight, self.temperature = contrast_weight, temperature
        self.register_buffer("prior", log_prior(class_counts), persistent=False)

    def expect(self, dims: Mapping[str, int]) -> None:
        """Allocates the buffers. Raises InputError for fewer than LEAST_DIMS dimensions, where ψ's expansion fails."""
        num_dims, num_classes = dims["projection"], len(self.class_counts)
        if num_dims < LEAST_DIMS:
            raise InputError(f"HEADS.PROJECTION.DIM: proco needs {LEAST_DIMS} or more, got {num_dims}; published 128")
        means = random_means(num_classes, num_dims).expand(2, -1, -1)
        for name, persistent in (("means", True), ("next_means", False)):
            self.register_buffer(name, means.clone(), persistent)
        for name, persistent in (("counts", True), ("next_counts", False)):
            self.register_buffer(name, torch.zeros(2, num_classes), persistent)

    def before_epoch(self, context: Context) -> None:
        """Uses the means collected in the previous epoch, and starts collecting new ones."""
        self.means[0], self.counts[0] = self.means[1], self.counts[1]
        _, num_classes, num_dims = self.means.shape
        self.means[1], self.counts[1] = random_means(num_classes, num_dims, context.generator).to(self.means), 0

    def after_step(self) -> None:
        self.means.copy_(self.next_means)
        self.counts.copy_(self.next_counts)

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """The additional views, (B, 3, H, W) each."""
        return batch.views

    def combine(self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, *views: Tensor) -> Step:
        whole = network(torch.cat([images, *views]))
        first = first_of(whole, len(labels))
        projected = whole.heads["projection"][len(labels):].chunk(len(views))
        losses = [self.contrast(vectors, labels, directions) for vectors, directions in
                  zip(projected, self.updated(projected, labels))]
        contrast = torch.stack(losses).mean().to(whole.logits.dtype)
        return Step(criterion(first, labels) + self.contrast_weight * contrast, first.logits, labels)

    @torch.no_grad()
    def updated(self, projected: tuple[Tensor, ...], labels: Tensor) -> list[Tensor]:
        """For each view the class means to contrast it with, (C, d); its vectors and those of the views before it count."""
        sums = torch.stack([class_sums(vectors.float(), labels, len(self.class_counts)) for vectors in projected])
        sum_over_ranks(sums)
        directions, compared = Directions(self.means, self.counts), []
        for own in sums:
            directions = directions.added(own[:, :-1], own[:, -1])
            compared.append(directions.means[0])
        self.next_means.copy_(directions.means)
        self.next_counts.copy_(directions.counts)
        return compared

    def contrast(self, vectors: Tensor, labels: Tensor, means: Tensor) -> Tensor:
        expected = log_expectations(vectors, means, self.temperature)
        return cast(Tensor, shifted_cross_entropy(expected, self.prior, labels).mean())
