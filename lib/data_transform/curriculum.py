"""Augmentation of a strength that each class earns."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Transform
from lib.utils.options import SHARE, Range
from lib.utils.part import Context

HIGHEST = 10   # level
SCALE = 30     # magnitude = level / 30, as published
Operation = Callable[[Tensor, Tensor], Tensor]   # uint8 images (B, 3, H, W) and their magnitudes (B, 1, 1, 1) to uint8 images


def invert(images: Tensor, magnitude: Tensor) -> Tensor:
    return 255 - images


def solarize(images: Tensor, magnitude: Tensor) -> Tensor:
    """Inverts values from 256 · magnitude on."""
    return torch.where(images >= 256 * magnitude, 255 - images, images)


def brightness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Blends with black, as Pillow does: times 0.1 to 1.9, clipped and rounded down."""
    return (images * (0.1 + 1.8 * magnitude)).clamp(0, 255).byte()


OPERATIONS: tuple[Operation, ...] = (invert, solarize, brightness)


@TRANSFORMS.register("curriculum")
class Curriculum(Transform):
    """Curriculum of data augmentation (CUDA): an image of class c is changed by as many operations as the level of its class.

    With ``probability`` the level is l_c, else 0. At level l, l operations follow each other, each drawn uniformly from
    OPERATIONS with replacement, of magnitude l / 30. Before each epoch, samples · (s + 1) training images of class c are
    classified at every level s ≤ l_c; where more than ``threshold`` of them are correct at all of these levels, l_c rises by one,
    otherwise it falls by one, within 0 … 10. Ahn et al., CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition,
    ICLR 2023, arXiv:2302.05499.

    It must follow whatever brings an image to its size, since worker processes do not know the levels.

    Args:
        probability: share of the images that are changed.
        threshold, samples: of the rule.

    Attributes:
        levels: l_c, (C,) on the CPU; what is learned, so it is in the checkpoint.
    """

    by_class = True

    def __init__(self, size: tuple[int, int], *, probability: Annotated[float, SHARE] = 0.5,
                 threshold: Annotated[float, SHARE] = 0.6, samples: Annotated[int, Range(1, 10000)] = 10) -> None:
        super().__init__(size)
        self.probability, self.threshold, self.samples = probability, threshold, samples
        self.levels = torch.zeros(0, dtype=torch.long)
        self.forced: int | None = None   # level of all images while classes are examined

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Without labels all levels are 0, and nothing is changed."""
        return images

    def labelled(self, images: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        host = torch.Generator().manual_seed(generator.initial_seed()) if generator else None
        levels = self.draw_levels(labels, host)
        operations = torch.randint(len(OPERATIONS), (HIGHEST, len(labels)), generator=host)
        for turn in range(int(levels.max()) if len(levels) else 0):
            images = self.turn(images, levels, operations[turn].masked_fill(levels <= turn, -1))
        return images

    def draw_levels(self, labels: Tensor, host: Generator | None) -> Tensor:
        """Of each image, (B,)."""
        chosen = torch.rand(len(labels), generator=host) < self.probability
        if self.forced is not None:
            return torch.where(chosen, self.forced, 0)
        own = self.levels[labels] if len(self.levels) else torch.zeros_like(labels)
        return torch.where(chosen, own, 0)

    @staticmethod
    def turn(images: Tensor, levels: Tensor, operations: Tensor) -> Tensor:
        """Applies one operation to each image, −1 for none; the choice was made on the CPU, so that nothing synchronises."""
        images = images.clone()
        for number, operation in enumerate(OPERATIONS):
            places = (operations == number).nonzero().flatten()
            if len(places):
                magnitude = (levels[places] / SCALE).view(-1, 1, 1, 1).to(images.device, non_blocking=True)
                places = places.to(images.device, non_blocking=True)
                images[places] = operation(images[places], magnitude)
        return images

    def before_epoch(self, context: Context) -> None:
        counts = context.loader.set.class_counts
        if not len(self.levels):
            self.levels = torch.zeros(len(counts), dtype=torch.long)
        hits = torch.zeros(HIGHEST + 1, len(counts), dtype=torch.double)
        for level in range(int(self.levels.max()) + 1):
            classes = ((self.levels >= level) & (counts > 0)).nonzero().flatten()
            with self.at(level):
                hits[level] = self.examine(context, classes, self.samples * (level + 1))
        self.levels = next_levels(self.levels, hits, self.threshold).masked_fill(counts == 0, 0)

    @contextmanager
    def at(self, level: int) -> Iterator[None]:
        self.forced = level
        try:
            yield
        finally:
            self.forced = None

    @staticmethod
    def examine(context: Context, classes: Tensor, number: int) -> Tensor:
        """Share of ``number`` random training images of each class that the network classifies correctly, (C,)."""
        labels, num_classes = context.loader.set.labels, len(context.loader.set.class_counts)
        chosen = []
        for label in classes.tolist():
            own = (labels == label).nonzero().flatten()
            chosen.append(own[torch.randint(len(own), (number,), generator=context.generator)])
        correct = torch.zeros(num_classes, dtype=torch.double, device=context.runtime.device)
        for batch in context.look(torch.cat(chosen)):
            with context.precision.autocast():
                hit = context.network(batch.images).logits.argmax(dim=1) == batch.labels
            correct.index_add_(0, batch.labels, hit.double())
        return context.runtime.all_reduce(correct).cpu() / number

    def state_dict(self) -> dict[str, Tensor]:
        return {"levels": self.levels}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.levels = state["levels"]


def next_levels(levels: Tensor, hits: Tensor, threshold: float) -> Tensor:
    """l_c + 1 where hits[s, c] > threshold for all s ≤ l_c, else l_c − 1; within 0 … 10. (C,), and (11, C)."""
    within = torch.arange(len(hits))[:, None] <= levels
    passed = ((hits > threshold) | ~within).all(dim=0)
    return torch.where(passed, levels + 1, levels - 1).clamp(0, HIGHEST)
