"""Loads the state of an optimizer from a checkpoint."""
from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from lib.utils.errors import InputError

SGD_MOMENTS, ADAM_MOMENTS = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")


def load_moments(optimizer: Optimizer, saved: Any, transposed: Set[Parameter], source: str) -> None:
    """Loads the moments of an optimizer. Learning rate, momentum, weight decay and kernels remain as configured.

    Args:
        saved: the state_dict of an optimizer. Parameters are matched by their order; the groups may differ, since published
            files have one group per parameter.
        transposed: parameters that the file stores transposed.
        source: config key and path, for messages.

    Raises:
        InputError: the state belongs to another optimizer or to other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = optimizer.state_dict()
    try:
        moments = flat(saved)
        moments = [turned(entry) if number < len(parameters) and parameters[number] in transposed else entry
                   for number, entry in enumerate(moments)]
        reason = difference(optimizer, parameters, moments)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):   # float() of a tensor
        reason = "it is no optimizer's"
    if reason:
        raise InputError(f"{source} holds the state of another optimizer or of other parameters than {type(optimizer).__name__} "
                         f"of this run ({reason}); RESUME_MODE state_dict takes its weights only")
    state = {number: entry for number, entry in enumerate(moments) if entry}
    optimizer.load_state_dict({"state": own["state"] | state, "param_groups": own["param_groups"]})
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            # fused kernels assume that a parameter and its moments have the same memory layout
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entry[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def flat(saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists the saved state of each parameter, in the order of the groups; empty for a parameter that was never updated."""
    entries = [saved["state"].get(number, {}) for group in saved["param_groups"] for number in group["params"]]
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise TypeError("an entry of the state is no mapping")
    return [dict(entry) for entry in entries]


def difference(optimizer: Optimizer, parameters: list[Parameter], moments: list[dict[str, Any]]) -> str:
    """Explains why a saved state does not fit this optimizer; empty if it fits."""
    if len(moments) != len(parameters):
        return f"there it had {len(moments)} parameters, here {len(parameters)}"
    names = SGD_MOMENTS if isinstance(optimizer, SGD) else ADAM_MOMENTS
    for number, (entry, parameter) in enumerate(zip(moments, parameters)):
        for name in names if entry else ():
            if name not in entry:
                return f"it has no {name}"
            if entry[name] is not None and tuple(entry[name].shape) != tuple(parameter.shape):
                return f"{name} of parameter {number} is {tuple(entry[name].shape)} there, here {tuple(parameter.shape)}"
        if names == ADAM_MOMENTS and entry:
            float(entry["step"])   # a number or a tensor with one element; raises otherwise
    return ""


def turned(moments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.T.contiguous() if isinstance(value, Tensor) and value.dim() == 2 else value
            for name, value in moments.items()}
