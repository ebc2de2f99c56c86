"""The training step, from top to bottom: draw, forward, loss, backward, update."""
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.combiner import Combiner, Step
from lib.dataset import Batch
from lib.device.precision import Precision
from lib.device.runtime import num_chunks
from lib.engine.optimizer import FACTOR
from lib.engine.totals import summands
from lib.update import UPDATES, Piece, Update, Weights
from lib.utils.seed import Stream, seed_globals, spawn_seeds


class TrainStep(Protocol):
    """A training step: trains on a batch and returns its ``summands``. ``begin_epoch`` comes before the first batch of an
    epoch."""

    def begin_epoch(self) -> None: ...

    def __call__(self, batch: Batch) -> Tensor: ...


class EagerStep(NamedTuple):
    """The eager training step: draw, then forward, loss and backward as often as the update rule requires, then update.

    Attributes:
        network: wrapped in DDP or DataParallel on several devices; compiled if configured.
        pieces: number of pieces into which a batch is split; they are processed in turn, and their gradients are added up.
        clip_norm: see ``Weights``.
    """

    network: nn.Module
    criterion: Any   # a LongTailLoss
    combiner: Combiner
    optimizer: Optimizer
    precision: Precision
    update: Update = UPDATES["plain"]()
    pieces: int = 1
    clip_norm: float = 0.0

    def begin_epoch(self) -> None:
        self.network.train()

    def __call__(self, batch: Batch) -> Tensor:
        pieces = split(batch, self.pieces, self.combiner.rows or 1)
        return self.compute([self.draw(piece) for piece in pieces], [piece.stream.seed for piece in pieces])

    def draw(self, batch: Batch) -> list[Tensor]:
        """All tensors that the step depends on: images, labels and the random numbers of the combiner."""
        return [batch.images, batch.labels, *self.combiner.draw(batch, num_chunks(self.network))]

    def begin(self, seed: int) -> None:
        """Seeds the random numbers of the network (dropout) and of the loss with the seed of the batch."""
        seed_globals(seed)
        self.criterion.on_batch(seed)

    def compute(self, drawn: Sequence[list[Tensor]], seeds: Sequence[int | None]) -> Tensor:
        """Trains on a batch; returns its ``summands``.

        Args:
            drawn: result of ``draw`` for each piece of the batch.
            seeds: seed of each piece; None if there is one piece and ``begin`` has been called.
        """
        def forward(inputs: list[Tensor], seed: int | None, class_weights: Tensor | None = None) -> Step:
            if seed is not None:   # in every pass, so that dropout draws the same
                self.begin(seed)
            criterion = self.criterion if class_weights is None else WeightedParts(self.criterion, class_weights)
            return self.combiner.combine(self.network, criterion, *inputs)

        size = sum(len(inputs[1]) for inputs in drawn)
        losses = [Piece(len(inputs[1]) / size, partial(forward, inputs, seed)) for inputs, seed in zip(drawn, seeds, strict=True)]
        weights = Weights(self.network, self.optimizer, self.precision, self.clip_norm)
        weights.clear()
        return summands(*self.update(losses, weights))


class WeightedParts(NamedTuple):
    """A loss that returns K values, (K,), each with its own class weights."""

    criterion: Any
    class_weights: Tensor   # (K, C)

    def __call__(self, output: Any, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        weights = self.class_weights[:, targets]
        weights = weights if sample_weight is None else weights * sample_weight
        return torch.stack([self.criterion(output, targets, sample_weight=own) for own in weights])


def split(batch: Batch, pieces: int, rows: int) -> list[Batch]:
    """Splits the batch into pieces as ``torch.chunk`` does, each with its own random stream; one piece is the batch itself.

    Args:
        rows: number of rows of the sampler's draw, which are concatenated in the batch; each piece gets a part of each row.
    """
    if pieces == 1:
        return [batch]
    seeds = spawn_seeds(batch.stream.seed, pieces)

    def cut(values: Tensor) -> list[Tensor]:
        parts = [row.chunk(pieces) for row in values.chunk(rows)]
        return [torch.cat(same) for same in zip(*parts)]

    views = list(zip(*(cut(view) for view in batch.views))) or [()] * pieces
    return [Batch(images, labels, indices, Stream(seed, batch.stream.device), tuple(own))
            for images, labels, indices, seed, own in zip(cut(batch.images), cut(batch.labels), cut(batch.indices), seeds, views)]


def has_finite_weights(network: nn.Module) -> bool:
    """Whether all parameters are finite; the result is the same on all ranks. Waits for the device once."""
    return bool(torch.stack([parameter.detach().isfinite().all() for parameter in network.parameters()]).all())


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of each group to ``rate`` times the factor of the group (LR_FACTORS)."""
    for group in optimizer.param_groups:
        own = rate * group.get(FACTOR, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)   # in place: a captured CUDA graph reads it from this memory
        else:
            group["lr"] = own
