"""An average of the weights over the steps of a training."""
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib.utils.part import Part


class WeightAverage(Part):
    """An exponential moving average of the weights: a ← d · a + (1 − d) · w after every step, for all floating-point parameters
    and buffers of a network.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that the initial weights are forgotten soon; integers are copied. The average
    is evaluated, and is what other programs read from a checkpoint; training itself, also when resumed, uses the weights.

    Args:
        network: without a DDP or DataParallel wrapper.
        decay: d after many steps, such as 0.999; the average is over about 1 / (1 − d) steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, own = decay, network.state_dict()
        self.names = list(own)
        self.current = list(own.values())   # the network's own tensors, which training changes in place
        self.average = [tensor.detach().clone() for tensor in self.current]
        self.steps = torch.zeros((), dtype=torch.double, device=self.current[0].device)
        self.mixed = [number for number, tensor in enumerate(self.current) if tensor.is_floating_point()]
        self.copied = [number for number, tensor in enumerate(self.current) if not tensor.is_floating_point()]

    @torch.no_grad()
    def after_step(self) -> None:
        self.steps += 1
        weight = 1 - torch.minimum((1 + self.steps) / (10 + self.steps), torch.full_like(self.steps, self.decay))
        averages = [self.average[number] for number in self.mixed]
        changes = torch._foreach_sub([self.current[number] for number in self.mixed], averages)
        torch._foreach_mul_(changes, weight.float())
        torch._foreach_add_(averages, changes)
        for number in self.copied:
            self.average[number].copy_(self.current[number])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside this context the network has the averaged weights."""
        with torch.no_grad():
            trained = [tensor.clone() for tensor in self.current]
            self.put(self.average)
        try:
            yield
        finally:
            with torch.no_grad():
                self.put(trained)

    def put(self, values: list[Tensor]) -> None:
        for own, value in zip(self.current, values, strict=True):
            own.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, under the names of the network's state_dict."""
        return dict(zip(self.names, self.average))

    @torch.no_grad()
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for name, own in zip(self.names, self.average):
            own.copy_(weights[name])
