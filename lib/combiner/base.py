"""The contract every combiner follows, and how examples find the partners they are mixed with."""
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.dataset import Batch
from lib.device.runtime import num_chunks
from lib.utils.part import Part
from lib.utils.registry import Registry

COMBINERS = Registry("combiner")


class Step(NamedTuple):
    """The result of a combiner: the loss of a batch, and the logits and targets for its accuracy."""

    loss: Tensor     # scalar, with a graph
    logits: Tensor   # (B, C)
    targets: Tensor  # (B,) labels, or (B, C) shares of a mixed example's classes


class Combiner(nn.Module, Part):
    """Turns a batch into a loss: ``combiner(network, criterion, batch) -> Step``.

    Random numbers come from ``batch.stream``, in ``draw``; ``combine`` is a function of tensors, so that a CUDA graph can be it.

    The network is called once. Parameters and persistent buffers of its own are trained, saved and resumed like the network's.

    Class attributes:
        rows: rows of the draw that it combines (a sampler's ``rows``), None for any.
        views: further views of each image that it takes from ``batch.views`` (TRANSFORMS.VIEWS).
        needs_loss: the only loss that takes what it gives, None for any.
        needs_heads: heads of the network that it reads (HEADS.TYPES).
        mixes: whether the labels of an example are two, which some losses do not take (``LongTailLoss.mixes``).
        whole_batches: whether it learns from each batch as a whole, which so cannot be cut into pieces (UPDATE.ACCUMULATE).
        reads_maps: whether it needs to know the number of channels of the network's last feature maps.
        sums_examples: whether its loss is a sum of terms of the criterion, which an update rule may weigh by class.

    Args:
        class_counts: training images per class, (C,).

    Attributes:
        max_epoch: length of the training; 0 where it is not known.
    """

    max_epoch = 0
    rows: int | None = None
    views = 0
    needs_loss: str | None = None
    needs_heads: tuple[str, ...] = ()
    mixes = False
    reads_maps = False
    sums_examples = True
    whole_batches = False
    class_counts: Tensor

    def __init__(self, class_counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("class_counts", class_counts.long(), persistent=False)

    def expect(self, dims: Mapping[str, int]) -> None:
        """Called once, before its state is loaded.

        Args:
            dims: of the vectors that each head of ``needs_heads`` gives; with ``reads_maps`` also "maps", the channels of the
                last feature maps of one expert, and "experts", their number.
        """

    def origin(self) -> str:
        """A digest of what it has besides its options, such as the weights of a teacher; empty where that is nothing."""
        return ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward" in vars(cls):   # which a step does not call
            raise TypeError(f"{cls.__name__} overrides forward; what is random belongs in draw, all else in combine")

    def forward(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Step:
        """Draw and combine in one, for use outside of a training."""
        return self.combine(network, criterion, batch.images, batch.labels, *self.draw(batch, num_chunks(network)))

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """Draws the random tensors of a step, on the device; their shapes are the same for every batch. Most draw none.

        Args:
            num_chunks: parts of the batch that devices see apart.
        """
        return ()

    def combine(self, network: Any, criterion: Any, images: Tensor, labels: Tensor, *drawn: Tensor) -> Step:
        """The step. Nothing in it is random, and nothing waits for the device."""
        raise NotImplementedError(f"{type(self).__name__} must say what a step is")


def draw_partners(size: int, num_chunks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A partner for every example, from a permutation of each of the chunks that ``torch.chunk`` cuts a batch into.

    Returns:
        The partners' positions in the batch, (B,), and in their chunk, (B,).
    """
    chunks = torch.arange(size, device=generator.device).chunk(num_chunks)
    partners = [torch.randperm(len(chunk), generator=generator, device=generator.device) for chunk in chunks]
    return torch.cat([chunk[partner] for chunk, partner in zip(chunks, partners)]), torch.cat(partners)


def mixed_targets(labels: Tensor, others: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Class shares (B, C) of examples with ``share`` of the class ``labels`` and the rest of ``others``, (B,) each, or one
    share () for all."""
    share = share.expand(len(labels))[:, None]
    return share * F.one_hot(labels, num_classes) + (1 - share) * F.one_hot(others, num_classes)
