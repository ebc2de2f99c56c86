"""The contract every draw follows."""
import torch
from torch import Generator, Tensor

from lib.utils.registry import Registry

SAMPLERS = Registry("sampler")


class Draw:
    """Draws the indices of an epoch. It is pure: the same epoch and generator state give the same draw, on every rank.

    Class attributes:
        rows: images that are seen together at every step, V.

    Args:
        labels: class of every training image, (N,).
        class_counts: images per class that probabilities are made of, (C,).
        max_epoch: length of the training, for draws that change along it.
    """

    rows = 1

    def __init__(self, labels: Tensor, class_counts: Tensor, max_epoch: int) -> None:
        self.labels, self.class_counts, self.max_epoch = labels, class_counts.double(), max_epoch
        self.by_label = labels.argsort(stable=True)   # images sorted by class: class c begins at starts[c]
        self.sizes = torch.bincount(labels, minlength=len(class_counts))
        self.starts = self.sizes.cumsum(0) - self.sizes

    def __call__(self, epoch: int, generator: Generator) -> Tensor:
        """Returns indices, (V, n): V images are seen together at every step, one of each row."""
        raise NotImplementedError(f"{type(self).__name__} must implement __call__")

    def by_class(self, weights: Tensor, generator: Generator) -> Tensor:
        """Σ n_c indices: a class in proportion to ``weights`` (C,), then one of its images uniformly, with replacement.

        Empty classes are never drawn.
        """
        weights = torch.where(self.sizes > 0, weights, 0)
        count = int(self.class_counts.sum())
        classes = torch.multinomial(weights, count, replacement=True, generator=generator)
        place = (torch.rand(count, generator=generator, dtype=torch.double) * self.sizes[classes]).long()
        return self.by_label[self.starts[classes] + place]
