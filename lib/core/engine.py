"""One epoch of training, one of evaluation. The whole data path after the loader is here."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.core.combiner import Combiner, Step
from lib.core.metrics import Predictions, describe
from lib.core.precision import Precision
from lib.core.runtime import Runtime, unwrap
from lib.dataset import FileLoader, MemoryLoader
from lib.net import Output

Loader = MemoryLoader | FileLoader
Head = Callable[[Output], Tensor]   # from a network's output to the (B, C) logits that are evaluated


class Sums:
    """Epoch totals that stay on the device: one synchronisation per epoch, none per batch."""

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros(3, dtype=torch.double, device=device)   # loss · images, correct, images

    @torch.no_grad()
    def add(self, step: Step) -> None:
        size = len(step.logits)
        loss = step.loss.detach().double() * size
        self.total += torch.stack([loss, num_correct(step.logits, step.targets).double(), loss.new_full((), size)])

    def means(self, runtime: Runtime) -> tuple[float, float]:
        """Mean loss and accuracy over the images of all ranks."""
        loss, correct, images = runtime.all_reduce(self.total.clone()).tolist()
        return loss / images, correct / images


def num_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of each example's credit: 1 or 0 for a label, the share of the predicted class where examples are mixed."""
    predicted = logits.argmax(dim=1)
    if targets.dim() == 2:
        return targets.gather(1, predicted[:, None]).sum()
    return (predicted == targets).sum()


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def train_one_epoch(network: nn.Module, criterion: nn.Module, combiner: Combiner, loader: Loader, optimizer: Optimizer,
                    precision: Precision, after_batch: Callable[[int, Sums], None] | None = None) -> Sums:
    """Trains on every batch of ``loader`` once. The host never waits for the device here, ``after_batch`` aside.

    Args:
        after_batch: told the number of batches done (from 1) and the totals so far.
    """
    network.train()
    sums = Sums(loader.device)
    for number, batch in enumerate(loader, start=1):
        optimizer.zero_grad(set_to_none=True)
        criterion.on_batch(batch.stream.seed)
        with precision.autocast():
            step = combiner(network, criterion, batch)
        precision.step(step.loss, optimizer)
        sums.add(step)
        if after_batch is not None:
            after_batch(number, sums)
    return sums


def evaluate(network: nn.Module, loader: Loader, precision: Precision, runtime: Runtime) -> Predictions:
    """The predictions of the network's own classifier, see ``evaluate_heads``."""
    return evaluate_heads(network, [own_logits], loader, precision, runtime)[0]


def own_logits(output: Output) -> Tensor:
    return output.logits


@torch.no_grad()
def evaluate_heads(network: nn.Module, heads: Sequence[Head], loader: Loader, precision: Precision,
                   runtime: Runtime) -> list[Predictions]:
    """Predictions for every image of the set exactly once, in its order, on every rank, as CPU tensors; one for each head.

    The images pass through the network once, whatever the number of heads T. Each head is applied to a batch while its
    features are there, so that none are kept: memory is O(T · N), whatever the number of features.

    Ranks take whole batches of the one-process order, so that each image meets the same neighbours in its batch, and
    its logits the same rounding, however many ranks there are.
    """
    runtime.synchronise_buffers(network)
    network = unwrap(network) if runtime.world_size > 1 else network   # no communication inside the forward pass
    network.eval()
    predictions = [Predictions.empty(loader.num_images, runtime.device) for _ in heads]
    indices, done = torch.empty(loader.num_images, dtype=torch.long), 0
    for batch in loader:
        rows = slice(done, done + len(batch.labels))
        with precision.autocast():
            output = network(batch.images)
            for head, of_head in zip(heads, predictions):
                of_head.put(rows, describe(head(output), batch.labels))
        indices[rows], done = batch.indices, rows.stop
    order = runtime.gather_rows(indices.to(runtime.device)).argsort()
    return [Predictions(*(runtime.gather_rows(column)[order].cpu() for column in of_head)) for of_head in predictions]
