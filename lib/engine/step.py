"""A step and an epoch of training, and one of evaluation. The whole data path after the loader is here."""
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.combiner import Combiner, Step
from lib.dataset import Batch, FileLoader, MemoryLoader
from lib.device.failures import TRAINING, VALIDATION, during
from lib.device.precision import Precision
from lib.device.runtime import Runtime, unwrap
from lib.engine.optimizer import FACTOR
from lib.net import Output
from lib.report.predictions import Predictions, describe
from lib.utils.errors import InputError
from lib.utils.seed import seed_globals

Loader = MemoryLoader | FileLoader
Head = Callable[[Output], Tensor]   # from a network's output to the (B, C) logits that are evaluated


class Means(NamedTuple):
    """An epoch over the images of all ranks."""

    loss: float
    accuracy: float
    skipped_steps: int


class Sums:
    """Epoch totals that stay on the device: one synchronisation per epoch, none per batch.

    Attributes:
        batches: how many were added.
    """

    def __init__(self, device: torch.device) -> None:
        self.batches = 0
        self.total = torch.zeros(4, dtype=torch.double, device=device)   # loss · images, correct, images, skipped steps
        self.first_bad = torch.full((), math.inf, dtype=torch.double, device=device)   # batch whose loss was not finite

    def add(self, row: Tensor) -> None:
        """``row``: of the batch, see ``summands``."""
        self.batches += 1
        self.total += row[:4]
        self.first_bad = torch.minimum(self.first_bad, row[4] + self.batches)

    def means(self, runtime: Runtime) -> Means:
        """Mean loss and accuracy over the images of all ranks, who all skip the same steps."""
        loss, correct, images, skipped = runtime.all_reduce(self.total.clone()).tolist()
        return Means(loss / images, correct / images, round(skipped / runtime.world_size))

    def gather(self, runtime: Runtime) -> Tensor:
        """Every rank's state, (ranks, 5), on every rank's CPU; ``restore`` goes on from this rank's row."""
        return runtime.gather_rows(torch.cat([self.total, self.first_bad[None]])[None]).cpu()

    def restore(self, row: Tensor, batches: int) -> None:
        self.batches = batches
        self.total.copy_(row[:4])
        self.first_bad.copy_(row[4])


@torch.no_grad()
def summands(step: Step, skipped: Tensor | float = 0.0) -> Tensor:
    """What a batch adds to the totals, (5,): loss · images, correct, images, skipped; and infinity, or 0 for a loss not finite.

    Args:
        skipped: 1 where the update was left out, see ``Precision.step``.
    """
    size = len(step.logits)
    loss = step.loss.detach().double() * size
    correct = num_correct(step.logits, step.targets).double()
    good = torch.full_like(loss, math.inf).masked_fill(~loss.isfinite(), 0)
    return torch.stack([loss, correct, torch.full_like(loss, size), torch.zeros_like(loss) + skipped, good])


def num_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of each example's credit: 1 or 0 for a label, the share of the predicted class where examples are mixed."""
    predicted = logits.argmax(dim=1)
    if targets.dim() == 2:
        return targets.gather(1, predicted[:, None]).sum()
    return (predicted == targets).sum()


def has_finite_weights(network: nn.Module) -> bool:
    """Whether all parameters are numbers, which on all ranks is the same; waits for the device once."""
    return bool(torch.stack([parameter.detach().isfinite().all() for parameter in network.parameters()]).all())


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Each group's rate is ``rate`` times its own factor (LR_FACTORS)."""
    for group in optimizer.param_groups:
        own = rate * group.get(FACTOR, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)   # in place: a captured CUDA graph reads it from there
        else:
            group["lr"] = own


class TrainStep(Protocol):
    """Trains on a batch and returns its ``summands``; ``begin_epoch`` comes before the first batch of an epoch."""

    def begin_epoch(self) -> None: ...

    def __call__(self, batch: Batch) -> Tensor: ...


class EagerStep(NamedTuple):
    """The step as it is written: draw, forward, loss, backward, update."""

    network: nn.Module
    criterion: nn.Module
    combiner: Combiner
    optimizer: Optimizer
    precision: Precision

    def begin_epoch(self) -> None:
        self.network.train()

    def __call__(self, batch: Batch) -> Tensor:
        self.begin(batch)
        return self.update(lambda: self.combiner(self.network, self.criterion, batch))

    def begin(self, batch: Batch) -> None:
        """Makes whatever the step draws a function of the batch's seed."""
        seed_globals(batch.stream.seed)
        self.criterion.on_batch(batch.stream.seed)

    def update(self, combine: Callable[[], Step]) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            step = combine()
        return summands(step, self.precision.step(step.loss, self.optimizer))


@during(TRAINING)
def train_one_epoch(step: TrainStep, loader: Loader, after_batch: Callable[[Sums], None] | None = None,
                    sums: Sums | None = None) -> Sums:
    """Trains on every batch of ``loader`` once. The host never waits for the device here, ``after_batch`` aside.

    Args:
        after_batch: told the totals so far.
        sums: totals of the batches before those of ``loader``, where the epoch was begun earlier.
    """
    step.begin_epoch()
    sums = sums or Sums(loader.device)
    for batch in loader:
        sums.add(step(batch))
        if after_batch is not None:
            after_batch(sums)
    return sums


def evaluate(network: nn.Module, loader: Loader, precision: Precision, runtime: Runtime,
             after_batch: Callable[[int], None] | None = None, scale: float = 1.0) -> Predictions:
    """The predictions of the network's own classifier, see ``evaluate_heads``; ``scale`` is ``LongTailLoss.evaluation_scale``."""
    return evaluate_heads(network, [own_logits(scale)], loader, precision, runtime, after_batch)[0]


def own_logits(scale: float = 1.0) -> Head:
    """The logits of the network's own classifier, times ``scale``."""
    return lambda output: output.logits if scale == 1 else scale * output.logits


@during(VALIDATION)
@torch.inference_mode()
def evaluate_heads(network: nn.Module, heads: Sequence[Head], loader: Loader, precision: Precision, runtime: Runtime,
                   after_batch: Callable[[int], None] | None = None) -> list[Predictions]:
    """Predictions for every image of the set exactly once, in its order, on every rank, as CPU tensors; one for each head.

    The images pass through the network once, whatever the number of heads T. Each head is applied to a batch while its
    features are there, so that none are kept: memory is O(T · N), whatever the number of features.

    Ranks take whole batches of the one-process order, so that each image meets the same neighbours in its batch, and
    its logits the same rounding, however many ranks there are.

    Args:
        after_batch: told the number of batches done (from 1); a rank may have one more than another.

    Raises:
        InputError: an image cannot be read; on all ranks together, after their last batch.
    """
    runtime.synchronise_buffers(network)
    network = unwrap(network) if runtime.world_size > 1 else network   # no communication inside the forward pass
    network.eval()
    predictions = [Predictions.empty(loader.num_images, runtime.device) for _ in heads]
    indices, done = torch.empty(loader.num_images, dtype=torch.long), 0
    with runtime.agree():
        for batch in all_batches(loader, after_batch or (lambda number: None)):
            rows = slice(done, done + len(batch.labels))
            with precision.autocast():
                output = network(batch.images)
                for head, of_head in zip(heads, predictions):
                    of_head.put(rows, describe(head(output), batch.labels))
            indices[rows], done = batch.indices, rows.stop
    order = runtime.gather_rows(indices.to(runtime.device)).argsort()
    return [Predictions(*(runtime.gather_rows(column)[order].cpu() for column in of_head)) for of_head in predictions]


def all_batches(loader: Loader, after_batch: Callable[[int], None]) -> Iterator[Batch]:
    """The batches, each followed by its call of ``after_batch``. Where an image cannot be read the calls go on to the last one
    before the error is raised, since other ranks wait for them."""
    number = 0
    try:
        for number, batch in enumerate(loader, start=1):
            yield batch
            after_batch(number)
    except InputError:
        for missed in range(number + 1, len(loader) + 1):
            after_batch(missed)
        raise
