"""Optimizers that do without torch's compiler.

torch loads it, 2 of the 5 seconds in which a training starts, to ask that an optimizer be left uncompiled: when one is made, and
at each step. Only networks are compiled in this project (TRAIN.COMPILE), so there is nothing to ask.
"""
import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)
ANSWER = "__dynamo_disable"   # where torch._compile keeps at a method what the compiler answered


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """The same optimizer; its methods are not wrapped in a question, and its step needs no ``differentiable``."""
    for method in vars(Optimizer).values():
        own = getattr(method, "__wrapped__", None)
        asking = getattr(method, "__globals__", {}).get("__name__") == "torch._compile"
        if own is not None and asking and not hasattr(own, ANSWER):
            setattr(own, ANSWER, own)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
