"""The contract every combiner follows, and the functions that mix examples in pairs."""
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
    """The result of a combiner: the loss of a batch, and the logits and targets to compute its accuracy."""

    loss: Tensor     # scalar, with its autograd graph
    logits: Tensor   # (B, C)
    targets: Tensor  # (B,) labels, or (B, C) soft labels of mixed examples


class Combiner(nn.Module, Part):
    """Turns a batch into a loss: ``combiner(network, criterion, batch) -> Step``.

    ``draw`` takes all random numbers from ``batch.stream``; ``combine`` is a function of tensors, so that a CUDA graph can
    capture it. It calls the network once. Parameters and persistent buffers of a combiner are trained, saved and resumed like the
    network's.

    Class attributes:
        rows: number of rows of the sampler's draw that it combines (a sampler's ``rows``), None for any.
        views: number of further views of each image that it reads from ``batch.views`` (TRANSFORMS.VIEWS).
        needs_loss: the only loss that it works with, None for any.
        needs_heads: heads of the network that it reads (HEADS.TYPES).
        mixes: whether examples get two labels, which some losses cannot use (``LongTailLoss.mixes``).
        whole_batches: whether it needs each batch as a whole, so that UPDATE.ACCUMULATE cannot cut it into pieces.
        reads_maps: whether it needs to know the number of channels of the network's last feature maps.
        sums_examples: whether its loss is a sum over examples, so that an update rule can weight the examples by class.

    Args:
        class_counts: training images per class, (C,).

    Attributes:
        max_epoch: number of epochs of the training; 0 if unknown.
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
        """A digest of what it depends on besides its options, such as the weights of a teacher; empty if there is nothing."""
        return ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward" in vars(cls):   # the training step calls draw and combine, not forward
            raise TypeError(f"{cls.__name__} overrides forward, which training does not call; implement draw (random numbers) "
                            "and combine (everything else)")

    def forward(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Step:
        """Calls ``draw`` and ``combine``, for use outside of training."""
        return self.combine(network, criterion, batch.images, batch.labels, *self.draw(batch, num_chunks(network)))

    def draw(self, batch: Batch, num_chunks: int) -> tuple[Tensor, ...]:
        """Draws the random tensors of a step, on the device; every batch must give the same shapes. The default draws none.

        Args:
            num_chunks: number of parts into which DataParallel splits the batch.
        """
        return ()

    def combine(self, network: Any, criterion: Any, images: Tensor, labels: Tensor, *drawn: Tensor) -> Step:
        """Computes the step: no random numbers, and no synchronisation with the device."""
        raise NotImplementedError(f"{type(self).__name__} must implement combine")


def draw_partners(size: int, num_chunks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random partner for every example, by a permutation within each of the chunks that ``torch.chunk`` makes of the batch.

    Returns:
        The partners' positions in the batch, (B,), and in their chunk, (B,).
    """
    chunks = torch.arange(size, device=generator.device).chunk(num_chunks)
    partners = [torch.randperm(len(chunk), generator=generator, device=generator.device) for chunk in chunks]
    return torch.cat([chunk[partner] for chunk, partner in zip(chunks, partners)]), torch.cat(partners)


def mixed_targets(labels: Tensor, others: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Soft labels (B, C): ``share`` of the class ``labels``, the rest of the class ``others``, (B,) each; one share () for all
    examples works as well."""
    share = share.expand(len(labels))[:, None]
    return share * F.one_hot(labels, num_classes) + (1 - share) * F.one_hot(others, num_classes)
