"""Divides the draw of an epoch into ranks and batches."""
import torch
from torch import Tensor

from lib.dataset.sampler.base import Draw
from lib.utils.errors import InputError
from lib.utils.schedule import Deferred
from lib.utils.seed import batch_seeds, shared_generator


class EpochBatches:
    """This rank's batches of one epoch, V · batch_size indices each, row after row of the draw.

    All ranks make the same draw and take every world_size-th of it, so that step k sees, over the ranks, just what
    one process with the world_size-fold batch would see. The last partial batch is dropped; a share that is smaller
    than a batch is one batch.

    Args:
        draw: what is drawn, with DRS in the second stage.
        batch_size: of this rank.
        first_stage, deferred: the draw before DRS begins, and when that is; None and None without DRS.
        seed: the draws are functions of (seed, epoch), the batches' streams of (seed, rank, epoch).

    Raises:
        InputError: fewer images than ranks.
    """

    def __init__(self, draw: Draw, batch_size: int, *, first_stage: Draw | None = None, deferred: Deferred | None = None,
                 seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.draw, self.first_stage, self.deferred = draw, first_stage or draw, deferred or Deferred()
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.epoch = 1
        self.drawn: list[Tensor] | None = None   # the batches of ``epoch``, once they were asked for
        if len(draw.labels) < world_size:
            raise InputError(f"{len(draw.labels)} training images cannot be divided among {world_size} processes")

    def on_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.drawn = epoch, None

    def batches(self) -> list[Tensor]:
        """(V · b,) indices each; drawn once per epoch."""
        if self.drawn is None:
            self.drawn = self.of_epoch(self.epoch)
        return self.drawn

    def of_epoch(self, epoch: int) -> list[Tensor]:
        """The batches of any epoch."""
        if epoch == self.epoch and self.drawn is not None:
            return self.drawn
        draw = self.draw if self.deferred.active(epoch) else self.first_stage
        rows = draw(epoch, shared_generator(self.seed, epoch))
        share = rows.shape[1] // self.world_size
        rows = rows[:, :share * self.world_size][:, self.rank::self.world_size]
        size = min(self.batch_size, share)
        return [part.reshape(-1) for part in rows.split(size, dim=1) if part.shape[1] == size]

    def seeds(self, count: int, epoch: int | None = None) -> list[int]:
        """One for each batch of an epoch, of this one unless another is named."""
        return batch_seeds(self.seed, self.rank, self.epoch if epoch is None else epoch, count)


class EvalBatches:
    """Batches of consecutive images, assigned to the ranks in turn.

    The batches are those of one process, so that an image's logits do not depend on the number of ranks by a single bit.
    """

    seed = 0   # nothing is drawn

    def __init__(self, num_images: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_images, self.batch_size, self.rank, self.world_size = num_images, batch_size, rank, world_size

    def on_epoch(self, epoch: int) -> None:
        """Every epoch has the same batches."""

    def batches(self) -> list[Tensor]:
        return self.of_epoch(1)

    def of_epoch(self, epoch: int) -> list[Tensor]:
        return list(torch.arange(self.num_images).split(self.batch_size))[self.rank::self.world_size]

    def seeds(self, count: int, epoch: int | None = None) -> list[int]:
        """Nothing is drawn in validation."""
        return [0] * count
