"""Predicts every image of a set exactly once, over all ranks."""
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from lib.dataset import Batch, Loader
from lib.device.failures import VALIDATION, during
from lib.device.precision import Precision
from lib.device.runtime import Runtime, unwrap
from lib.net import Output
from lib.report.predictions import Predictions, predictions_of
from lib.utils.errors import InputError

Head = Callable[[Output], Tensor]   # from a network's output to the (B, C) logits that are evaluated


def evaluate(network: nn.Module, loader: Loader, precision: Precision, runtime: Runtime,
             after_batch: Callable[[int], None] | None = None, scale: float = 1.0) -> Predictions:
    """The predictions of the network's own classifier, see ``evaluate_heads``; ``scale`` is ``LongTailLoss.evaluation_scale``."""
    return evaluate_heads(network, [own_logits(scale)], loader, precision, runtime, after_batch)[0]


def own_logits(scale: float = 1.0) -> Head:
    """The logits of the network's own classifier, times ``scale``."""
    return lambda output: output.logits if scale == 1 else scale * output.logits


def moved(head: Head, shift: Tensor) -> Head:
    """The logits of another head plus ``shift``, (C,), on their device."""
    return lambda output: head(output).float() + shift


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
                    of_head.put(rows, predictions_of(head(output), batch.labels))
            indices[rows], done = batch.indices, rows.stop
    order = runtime.gather_rows(indices.to(runtime.device)).argsort()
    return [Predictions(*(runtime.gather_rows(column)[order].cpu() for column in of_head)) for of_head in predictions]


def all_batches(loader: Loader, after_batch: Callable[[int], None]) -> Iterator[Batch]:
    """The batches, each followed by its call of ``after_batch``. Where an image cannot be read the calls continue to the last one
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
