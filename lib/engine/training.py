"""The parts of a training, and the events that they receive."""
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from lib.combiner import Combiner
from lib.dataset import Batch, Loader
from lib.device.precision import Precision
from lib.device.runtime import Runtime, unwrap
from lib.engine.average import WeightAverage
from lib.engine.evaluation import evaluate
from lib.engine.step import TrainStep
from lib.report.predictions import Predictions
from lib.update import Update
from lib.utils.part import Part
from lib.utils.schedule import Schedule
from lib.utils.seed import spawn_seeds

BEFORE_EPOCH = 2   # separates these random numbers from others with the same seed and epoch


class EpochContext(NamedTuple):
    """What a part can use in ``before_epoch``."""

    network: nn.Module      # without a DDP or DataParallel wrapper, in eval mode
    loader: Loader
    precision: Precision
    runtime: Runtime
    generator: Generator    # on the CPU; a function of the run's seed and the epoch, equal on all ranks

    def look(self, indices: Tensor) -> Iterator[Batch]:
        """Batches of the training images with these indices, with the transforms of training. Each rank gets its share of
        them."""
        size = self.loader.batches.batch_size
        parts = indices.split(size)
        seeds = torch.randint(2**62, (len(parts),), generator=self.generator).tolist()
        ranks = slice(self.runtime.rank, None, self.runtime.world_size)
        return self.loader.read(list(zip(parts, seeds))[ranks])


class Training(NamedTuple):
    """Everything that takes part in a training: network, loss, combiner, optimizer, precision and their state."""

    network: nn.Module   # as the step calls it, wrapped in DDP or DataParallel on several devices
    criterion: Any       # LongTailLoss
    combiner: Combiner
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision
    update: Update
    average: WeightAverage | None
    step: TrainStep      # trains on a batch, with all of the above

    def parts(self, loader: Loader | None = None) -> dict[str, Part]:
        """All parts that receive events, in the order of the calls, under the names of their states in a checkpoint."""
        network = cast(Part, unwrap(self.network))
        parts: dict[str, Part] = {"network": network, "criterion": self.criterion, "combiner": self.combiner,
                                  "update": self.update}
        if loader is not None:
            parts |= loader.stateful()
        return parts if self.average is None else parts | {"average": self.average}   # last: after projections

    @torch.inference_mode()
    def before_epoch(self, loader: Loader, runtime: Runtime, epoch: int) -> None:
        """Calls ``before_epoch`` of all parts. Call it on all ranks, once per epoch."""
        network = unwrap(self.network)
        network.eval()
        generator = Generator().manual_seed(spawn_seeds((loader.batches.seed, epoch, BEFORE_EPOCH), 1)[0])
        context = EpochContext(network, loader, self.precision, runtime, generator)
        for part in self.parts(loader).values():
            part.before_epoch(context)

    def evaluate(self, loader: Loader, runtime: Runtime, after_batch: Callable[[int], None] | None = None) -> Predictions:
        """The predictions of the network, with the averaged weights if there are any."""
        with self.average.applied() if self.average else nullcontext():
            return evaluate(self.network, loader, self.precision, runtime, after_batch, self.criterion.evaluation_scale)
