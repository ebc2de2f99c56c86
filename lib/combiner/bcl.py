"""Balanced contrastive learning (BCL), with two further views of each image and a prototype for each class."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step
from lib.dataset import Batch
from lib.net import Output
from lib.utils.options import Range

WEIGHT = Range(0, 1000)


@COMBINERS.register("bcl")
class BalancedContrast(Combiner):
    """Balanced contrastive learning: loss_weight · L(first view) + contrast_weight · ``balanced_contrast`` of the two further
    views and the class prototypes.

    All views go through the network in one forward pass. Accuracy is measured on the first view. Zhu et al., Balanced
    Contrastive Learning for Long-Tailed Visual Recognition, CVPR 2022, arXiv:2207.09052; the paper uses logit adjustment
    (BalancedSoftmaxCE) and the classifier CosineFC. Each rank contrasts the images of its own batch, as published.

    Args:
        loss_weight, contrast_weight: published 1 and 0.35 (ImageNet-LT, iNaturalist); 2 and 0.6 for CIFAR with temperature 0.1.
        temperature: T, the divisor of the similarities.
    """

    views = 2
    needs_heads = ("projection", "prototypes")
    sums_examples = False

    def __init__(self, class_counts: Tensor, *, loss_weight: Annotated[float, WEIGHT] = 1.0,
                 contrast_weight: Annotated[float, WEIGHT] = 0.35,
                 temperature: Annotated[float, Range(0.001, 100)] = 0.07) -> None:
        super().__init__(class_counts)
        self.loss_weight, self.contrast_weight, self.temperature = loss_weight, contrast_weight, temperature

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """The further views, (B, 3, H, W) each."""
        return batch.views

    def combine(self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor, *views: Tensor) -> Step:
        whole = network(torch.cat([images, *views]))
        first = first_of(whole, len(labels))
        projected, prototypes = whole.heads["projection"][len(labels):], whole.heads["prototypes"][0]
        contrast = balanced_contrast(projected, labels.repeat(len(views)), prototypes, self.temperature)
        loss = self.loss_weight * criterion(first, labels) + self.contrast_weight * contrast
        return Step(loss, first.logits, labels)


def first_of(output: Output, number: int) -> Output:
    """The output of the first ``number`` images."""
    features = None if output.features is None else output.features[:number]
    return Output(output.logits[:number], features, {name: value[:number] for name, value in output.heads.items()})


def balanced_contrast(vectors: Tensor, labels: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    r"""Mean over the anchors i of −mean over the positives of [s_ij − log Σ_c (Σ_{j ∈ c, j ≠ i} exp s_ij) / |c \ i|].

    s_ij = ⟨v_i, v_j⟩ / T. Candidates j are all vectors and one prototype per class; positives are the candidates of the anchor's
    class, except the anchor itself. Every class has the same weight in the denominator, regardless of its number of images.
    Eq. 6 of Zhu et al., arXiv:2207.09052.

    Args:
        vectors: (M, d), of length 1.
        labels: (M,).
        prototypes: (C, d), of length 1.
    """
    num_classes = len(prototypes)
    classes = torch.cat([labels, torch.arange(num_classes, device=labels.device)])
    similarity = vectors @ torch.cat([vectors, prototypes]).T / temperature           # (M, M + C)
    itself = torch.eye(len(vectors), len(classes), dtype=torch.bool, device=labels.device)
    counts = F.one_hot(classes, num_classes).sum(dim=0)                               # of all candidates, (C,)
    same = labels[:, None] == classes
    sizes = counts[classes] - same.long()                                             # |c \ i|, (M, M + C)
    logs = torch.log(sizes.clamp_min(1).to(similarity.dtype))
    denominator = (similarity - logs).masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    positive = (same & ~itself).to(similarity.dtype)
    return -(positive * (similarity - denominator)).sum(dim=1).div(positive.sum(dim=1)).mean()
