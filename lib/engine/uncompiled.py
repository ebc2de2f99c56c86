"""Optimizers that do not import torch's compiler.

When an optimizer is created, and at each step, torch imports its compiler only to mark the optimizer's methods as not to be
compiled. The import takes 2 of the 5 seconds in which a training starts. This project compiles only networks (TRAIN.COMPILE), so
optimizers need no such mark.
"""
import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)
ANSWER = "__dynamo_disable"   # attribute of a method in which torch._compile stores the compiler's answer


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """The same optimizer class, whose methods do not import the compiler; its step does not support ``differentiable``."""
    for method in vars(Optimizer).values():
        own = getattr(method, "__wrapped__", None)
        asking = getattr(method, "__globals__", {}).get("__name__") == "torch._compile"
        if own is not None and asking and not hasattr(own, ANSWER):
            setattr(own, ANSWER, own)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
