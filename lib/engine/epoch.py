"""An epoch of training."""
from collections.abc import Callable, Iterable

from lib.dataset import Loader
from lib.device.failures import TRAINING, during
from lib.engine.step import TrainStep
from lib.engine.totals import Sums
from lib.utils.part import Part


@during(TRAINING)
def train_one_epoch(step: TrainStep, loader: Loader, after_batch: Callable[[Sums], None] | None = None,
                    sums: Sums | None = None, parts: Iterable[Part] = ()) -> Sums:
    """Trains on every batch of ``loader`` once. The host never waits for the device, except in ``after_batch``.

    Args:
        after_batch: called after each batch with the totals so far.
        sums: totals of the epoch's earlier batches, if the epoch is resumed.
        parts: their ``after_step`` is called after every update.
    """
    step.begin_epoch()
    sums = sums or Sums(loader.device)
    for batch in loader:
        sums.add(step(batch))
        for part in parts:
            part.after_step()
        if after_batch is not None:
            after_batch(sums)
    return sums
