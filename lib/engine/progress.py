"""Progress lines of a training: learning rate, loss, remaining time."""
import logging
import math
import time
from typing import Any

import torch
from torch import Tensor

from lib.engine.totals import Sums
from lib.utils.progress import clock

log = logging.getLogger(__name__)


class Progress:
    """Progress lines of one training, after every ``every`` batches and after each epoch.

    Args:
        begun: epochs that were done when this session started, a fraction inside an epoch.
        epochs: last epoch.

    Attributes:
        broken: whether a loss was not finite.
    """

    def __init__(self, begun: float, epochs: int, every: int) -> None:
        self.begun, self.epochs, self.every = begun, epochs, every
        self.started = time.monotonic()
        self.snapshot: Snapshot | None = None
        self.broken = False

    def start_epoch(self, epoch: int, num_batches: int, num_images: int, seconds: float = 0.0) -> None:
        """Args:
            num_images: images of this epoch, over all ranks.
            seconds: time that earlier sessions spent on this epoch.
        """
        self.epoch, self.num_batches, self.num_images = epoch, num_batches, num_images
        self.epoch_started, self.snapshot = time.monotonic() - seconds, None

    def after_batch(self, sums: Sums) -> None:
        if sums.batches % self.every == 0 and sums.batches < self.num_batches:
            self.snapshot = Snapshot(sums.batches, sums.total)
        if self.snapshot is not None and self.snapshot.arrived():
            self._show(self.snapshot)
            self.snapshot = None

    def _show(self, snapshot: "Snapshot") -> None:
        loss, correct, images, _ = snapshot.values.tolist()
        self.broken = self.broken or not math.isfinite(loss)
        rate = snapshot.number / self.num_batches * self.num_images / (time.monotonic() - self.epoch_started)
        log.info("epoch %d/%d  batch %d/%d  loss %.4f  accuracy %.2f %%  %.0f images/s  ETA %s", self.epoch, self.epochs,
                 snapshot.number, self.num_batches, loss / images, 100 * correct / images, rate,
                 self.remaining(self.epoch - 1 + snapshot.number / self.num_batches))

    def line(self, entry: dict[str, Any]) -> str:
        """The progress line of an epoch, from its entry in the history."""
        parts = [f"epoch {entry['epoch']}/{self.epochs}", f"rate {entry['rate']:.4g}",
                 f"train: loss {entry['train_loss']:.4f} accuracy {100 * entry['train_accuracy']:.2f} %"]
        if "valid_accuracy" in entry:
            shots = "".join(f" {name} {100 * entry[name]:.1f}" for name in ("balanced", "many", "medium", "few") if name in entry)
            loss = "not finite" if entry["valid_loss"] is None else f"{entry['valid_loss']:.4f}"
            parts.append(f"valid: loss {loss} accuracy {100 * entry['valid_accuracy']:.2f} %{shots}")
        if entry.get("skipped_steps"):
            parts.append(f"{entry['skipped_steps']} steps skipped, since gradients overflowed in mixed precision")
        parts += [f"{entry['images_per_second']:.0f} images/s", f"ETA {self.remaining(entry['epoch'])}"]
        return "  ".join(parts)

    def remaining(self, done: float) -> str:
        """Remaining time as h:mm:ss, at the average speed of this session; ``done`` is the number of finished epochs."""
        if done <= self.begun:
            return "unknown"
        elapsed = time.monotonic() - self.started
        return clock(elapsed / (done - self.begun) * (self.epochs - done))


class Snapshot:
    """A copy of the totals that is being transferred to the host; on a GPU the copy is asynchronous."""

    def __init__(self, number: int, total: Tensor) -> None:
        self.number = number
        self.values, self.event = total.clone(), None
        if total.is_cuda:
            self.values = torch.empty(total.shape, dtype=total.dtype, pin_memory=True)
            self.values.copy_(total, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()

    def arrived(self) -> bool:
        return self.event is None or self.event.query()
