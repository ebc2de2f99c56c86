"""CUDA, the curriculum of data augmentation: each class has its own strength, which follows how well it is classified."""
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Generator, Tensor

from lib.data_transform import operations as ops
from lib.data_transform.base import TRANSFORMS, Transform, on_host
from lib.data_transform.operations import Operation
from lib.utils.options import SHARE, Range
from lib.utils.part import Context

HIGHEST = 10   # level
SCALE = 30     # strength = low + (high − low) · level / 30, as published
OPERATIONS = [   # of the authors' code, in its order
    Operation(ops.flip), Operation(ops.mirror), Operation(ops.enhance_edges), Operation(ops.detail), Operation(ops.smooth),
    Operation(ops.autocontrast), Operation(ops.equalize), Operation(ops.invert), Operation(ops.gaussian_blur, 0, 2),
    Operation(ops.zoom, 1, 1.5), Operation(ops.rotate, 0, 30, signed=True, moves=True), Operation(ops.posterize, 0, 4),
    Operation(ops.solarize, 0, 256), Operation(ops.solarize_add, 0, 110), Operation(ops.color, 0.1, 1.9),
    Operation(ops.contrast, 0.1, 1.9), Operation(ops.brightness, 0.1, 1.9), Operation(ops.sharpness, 0.1, 1.9),
    *(Operation(shear, 0, 0.3, signed=True, moves=True) for shear in (ops.shear_x, ops.shear_y)),
    *(Operation(translate, 0, 100, signed=True, moves=True) for translate in (ops.translate_x, ops.translate_y)),
]


@TRANSFORMS.register("curriculum")
class Curriculum(Transform):
    """Curriculum of data augmentation (CUDA): the number of operations on an image is the level l_c of its class c.

    With ``probability`` an image has the level l_c, else 0. At level l, l operations are applied one after the other. Each is
    drawn uniformly, with replacement, from the 22 of OPERATIONS; its strength is low + (high − low) · l / 30, for some operations
    with a random sign. Before each epoch, samples · (s + 1) training images of class c are classified at every level s ≤ l_c. If
    the share of correct ones is above ``threshold`` at all these levels, l_c rises by one, otherwise it falls by one, within
    0 … 10. Ahn et al., CUDA: Curriculum of Data Augmentation for Long-Tailed Recognition, ICLR 2023, arXiv:2302.05499.

    It must come after the transform that fixes the image size, since worker processes do not know the levels.

    Args:
        probability: probability that an image is changed.
        threshold, samples: parameters of the rule for l_c.

    Attributes:
        levels: l_c, (C,) on the CPU; they are saved in the checkpoint.
    """

    by_class = True

    def __init__(self, size: tuple[int, int], *, probability: Annotated[float, SHARE] = 0.5,
                 threshold: Annotated[float, SHARE] = 0.6, samples: Annotated[int, Range(1, 10000)] = 10) -> None:
        super().__init__(size)
        self.probability, self.threshold, self.samples = probability, threshold, samples
        self.levels = torch.zeros(0, dtype=torch.long)
        self.forced: int | None = None   # level of all images while the classes are evaluated

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Returns the images unchanged: without labels, all levels are 0."""
        return images

    def labelled(self, images: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        host = on_host(generator, self)
        levels = self.draw_levels(labels, host)
        chosen = torch.randint(len(OPERATIONS), (HIGHEST, len(labels)), generator=host)
        strengths = ops.strengths(OPERATIONS, chosen, levels / SCALE, host)
        for turn in range(int(levels.max()) if len(levels) else 0):
            images = ops.apply(images, chosen[turn].masked_fill(levels <= turn, -1), strengths[turn], OPERATIONS)
        return images

    def draw_levels(self, labels: Tensor, host: Generator | None) -> Tensor:
        """The level of each image, (B,)."""
        chosen = torch.rand(len(labels), generator=host) < self.probability
        if self.forced is not None:
            return torch.where(chosen, self.forced, 0)
        own = self.levels[labels] if len(self.levels) else torch.zeros_like(labels)
        return torch.where(chosen, own, 0)

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
        """The accuracy of the network on ``number`` random training images of each class, (C,)."""
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
    """l_c + 1 if hits[s, c] > threshold for all s ≤ l_c, else l_c − 1; within 0 … 10. ``levels`` (C,), ``hits`` (11, C)."""
    within = torch.arange(len(hits))[:, None] <= levels
    passed = ((hits > threshold) | ~within).all(dim=0)
    return torch.where(passed, levels + 1, levels - 1).clamp(0, HIGHEST)
