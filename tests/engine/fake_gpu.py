"""A GPU that is not there: tensors with a device, a shape and a type, and no numbers. Whoever asks for a number is refused, as is
whoever brings a tensor of the host's, so that what runs here neither waits for a GPU nor is copied to it."""
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Module = TypeVar("Module", bound=nn.Module)


class OneDevice(TorchDispatchMode):
    """Raises AssertionError for an operation on, or to, a tensor of another device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.operations = device, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        fused = "aten::_fused_" in function._schema.name   # works in place, returns nothing, and has no form for fake tensors
        result = None if fused else function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor):
                assert leaf.device.type == self.device.type, f"{function} meets {list(leaf.shape)} on {leaf.device}"
        self.operations += 1
        return result


class Generator(torch.Generator):
    """Of the CPU, and says that it is another device's, which fake tensors take for granted."""

    def __new__(cls, device: torch.device) -> "Generator":
        generator = super().__new__(cls)
        generator.claimed = device
        return generator

    @property
    def device(self) -> torch.device:
        return self.claimed


@contextmanager
def only_on(device: torch.device, mixed: bool = False) -> Iterator[OneDevice]:
    """Args:
        device: cuda; or lazy, a device without kernels through which autograd passes even where CUDA is not.
        mixed: float16 as autocast has it on CUDA.
    """
    torch.set_autocast_enabled("cuda", mixed)   # torch.autocast itself asks whether there is a GPU
    torch.set_autocast_dtype("cuda", torch.float16)
    try:
        with FakeTensorMode(), OneDevice(device) as mode:
            yield mode
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def moved(module: Module, device: torch.device) -> Module:
    """A module of the CPU with fake tensors in the place of its own; ``Module.to`` cannot do that."""
    def like(tensor: Tensor) -> Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(like(parameter), parameter.requires_grad)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = like(buffer)
    return module
