"""The events of a training, which all its parts receive."""
from collections.abc import Iterable
from typing import Any, Protocol

from torch import Generator, Tensor, nn


class Context(Protocol):
    """What a part can use in ``before_epoch``, see ``lib.engine.training.EpochContext``."""

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

    The training loop calls the four event methods in this order; by default they do nothing. What a part has learned or counted
    is in its ``state_dict``, which is saved in the checkpoint and loaded when training is resumed, also inside an epoch. All
    ranks call the methods, and the state of a part is equal on all of them.
    """

    def state_dict(self) -> dict[str, Any]:
        """What the part has learned or counted, as tensors and plain values; empty if there is nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restores a state that ``state_dict`` returned."""

    def on_epoch(self, epoch: int) -> None:
        """Called before an epoch, and again when an epoch is resumed. Sets everything that is a function of the epoch (from
        1)."""

    def before_epoch(self, context: Context) -> None:
        """Called once before the first batch of an epoch, but not when an epoch is resumed. It may use the network."""

    def after_step(self) -> None:
        """Called after every update of the weights, outside of CUDA graphs. It must not wait for the device."""

    def after_epoch(self) -> None:
        """Called after the last batch of an epoch, before validation."""
