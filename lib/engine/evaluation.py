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
    """A head that adds ``shift``, (C,), to the logits of another head, on their device."""
    return lambda output: head(output).float() + shift


@during(VALIDATION)
@torch.inference_mode()
def evaluate_heads(network: nn.Module, heads: Sequence[Head], loader: Loader, precision: Precision, runtime: Runtime,
                   after_batch: Callable[[int], None] | None = None) -> list[Predictions]:
    """The predictions of each head for every image of the set: each image exactly once, in the order of the set, as CPU tensors,
    on every rank.

    The images pass through the network once, regardless of the number T of heads. The heads are applied batch by batch and
    features are not kept, so memory is O(T · N), regardless of the number of features.

    The batches are the same as with one process, and each rank takes whole batches. So the neighbours of an image in its batch,
    and the rounding of its logits, do not depend on the number of ranks.

    Args:
        after_batch: called with the number of batches done (from 1); a rank may have one more than another.

    Raises:
        InputError: an image cannot be read; raised on all ranks together, after their last batch.
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
    """The batches; ``after_batch`` is called after each. If an image cannot be read, the remaining calls are still made before
    the error is raised, since other ranks wait for them."""
    number = 0
    try:
        for number, batch in enumerate(loader, start=1):
            yield batch
            after_batch(number)
    except InputError:
        for missed in range(number + 1, len(loader) + 1):
            after_batch(missed)
        raise
