"""The events of a training, which every part of it can listen to."""
from collections.abc import Iterable
from typing import Any, Protocol

from torch import Generator, Tensor, nn


class Context(Protocol):
    """What a part may look at before an epoch, see ``lib.engine.training.EpochContext``."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def loader(self) -> Any: ...

    @property
    def precision(self) -> Any: ...

    @property
    def runtime(self) -> Any: ...

    @property
    def generator(self) -> Generator: ...

    def look(self, indices: Tensor) -> Iterable[Any]: ...


class Part:
    """A part of a training: the network, the loss, the combiner, a transform, the update rule.

    The training loop calls the four methods in this order; none of them does anything unless a part says so. What a part has
    learned or counted is in its ``state_dict``, and that is in the checkpoint: it is loaded before training is resumed, inside
    an epoch too. All ranks call the methods, and a part's state is equal on all of them.
    """

    def state_dict(self) -> dict[str, Any]:
        """What it has learned or counted, in tensors and plain values; empty if that is nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Takes over what ``state_dict`` gave."""

    def on_epoch(self, epoch: int) -> None:
        """Called before an epoch, and again where an epoch is resumed. Sets what is a function of the epoch (from 1)."""

    def before_epoch(self, context: Context) -> None:
        """Called once before the first batch of an epoch, not where an epoch is resumed. May use the network."""

    def after_step(self) -> None:
        """Called after every update of the weights, outside of CUDA graphs. Must not wait for the device."""

    def after_epoch(self) -> None:
        """Called after the last batch of an epoch, before validation."""
