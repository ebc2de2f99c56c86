"""Checks that the replay of a captured step equals the eager step: both start from the same state, on the same batch."""
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.engine.step import EagerStep

TOLERANCE = 0.01    # relative: far above the rounding differences between kernels, far below the effect of a wrong batch
ROUNDING = 1e-6     # of a tensor's norm: float32 rounding, which can be larger than a small update


class StepOutcome(NamedTuple):
    """The results of a step."""

    loss: list[Tensor]
    gradients: list[Tensor]
    weights: list[Tensor]
    state: list[Tensor]   # optimizer state and buffers


def compare(step: EagerStep, eager: Callable[[], Tensor], replay: Callable[[], Tensor],
            recorded_gradients: Sequence[Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Takes the step twice from the current state, first eagerly, then by replay, whose result is kept. Waits for the device.

    Args:
        eager, replay: take the step and return its summands.
        recorded_gradients: the memory to which a replay writes the gradients.

    Returns:
        The result of ``replay``, and the difference of the two, relative to the change that the eager step makes, for each field
        of StepOutcome.
    """
    weights: list[Tensor] = list(step.network.parameters())
    state = changing_state(step)
    scale = step.precision.state_dict()
    begun = copies(weights), copies(state)
    row = eager()
    gradients = [parameter.grad for parameter in weights if parameter.grad is not None]
    expected = StepOutcome(copies([row[:1]]), gradients, copies(weights), copies(state))
    with torch.no_grad():
        for tensor, value in zip([*weights, *state], [*begun[0], *begun[1]], strict=True):
            tensor.copy_(value)
    step.precision.load_state_dict(scale)
    row = replay()
    found = StepOutcome([row[:1]], list(recorded_gradients), weights, state)
    start = StepOutcome([torch.zeros_like(row[:1])], [torch.zeros_like(gradient) for gradient in gradients], *begun)
    shares = torch.stack([difference(*parts) for parts in zip(expected, found, start)])
    return row, dict(zip(StepOutcome._fields, shares.tolist()))


def changing_state(step: EagerStep) -> list[Tensor]:
    """All tensors that a step may change, except the parameters of the network."""
    moments = [value for state in step.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    modules = (module for root in (step.network, step.criterion, step.combiner) for module in root.modules())
    return [*moments, *(tensor for module in modules for tensor in kept_tensors(module))]


def kept_tensors(module: nn.Module) -> list[Tensor]:
    """A module's own tensors that are not parameters: buffers and plain attributes."""
    return [*module.buffers(recurse=False), *(value for value in vars(module).values() if isinstance(value, Tensor))]


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def difference(expected: Sequence[Tensor], found: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """‖found − expected‖ / ‖expected − start‖ over all tensors, (); infinite if integers differ.

    Values that are not finite (overflowed gradients) count as 0.
    """
    error, change, size = torch.zeros(3, dtype=torch.double, device=expected[0].device)
    for own, other, before in zip(expected, found, start, strict=True):
        if own.is_floating_point():
            own, other, before = (tensor.double().nan_to_num(0.0, 0.0, 0.0) for tensor in (own, other, before))
            error, change = error + (other - own).square().sum(), change + (own - before).square().sum()
            size = size + before.square().sum()
        else:
            error = error + torch.zeros_like(error).masked_fill((own != other).any(), torch.inf)
    rounding = ROUNDING * size.sqrt()
    return (error.sqrt() - rounding).clamp(min=0) / change.sqrt().clamp(min=torch.finfo(torch.double).tiny)
