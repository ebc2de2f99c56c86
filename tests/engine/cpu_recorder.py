"""A stand-in for CUDA graphs on a CPU, as strict as they are: what is replayed is operations on memory, and no line of Python."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "item", "is_nonzero", "equal"}   # for the device, on CUDA


class CpuRecorder:
    """A ``Recorder``. Every operation that ``compute`` comes down to, backward and update included, is noted with the tensors
    it works on; the numbers of Python in it stay what they were. What recording overwrote is put back."""

    def __init__(self, make_notes: "Callable[[], Notes] | None" = None) -> None:
        self.make_notes = make_notes or Notes
        self.recordings = self.replays = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def record(self, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        notes, random = self.make_notes(), torch.get_rng_state()
        with notes:
            output = compute()
        with torch.no_grad():
            for tensor, before in reversed(notes.overwritten.values()):   # the oldest last, for what has several names
                tensor.copy_(before)
        torch.set_rng_state(random)
        self.recordings += 1

        def replay() -> Tensor:
            self.replays += 1
            with torch.no_grad():
                notes.replay()
            return output

        return replay


class Notes(TorchDispatchMode):
    """Operations with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, list[Tensor]]] = []
        self.overwritten: dict[int, tuple[Tensor, Tensor]] = {}
        self.born: set[int] = set()   # tensors that came to be in the recording, which nobody needs as they were

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function._schema.name.removeprefix("aten::") in WAITS:
            raise RuntimeError(f"{function} is not permitted while a step is captured: it waits for the device")
        for tensor in written(function, args, kwargs):
            if id(tensor) not in self.born and id(tensor) not in self.overwritten:
                self.overwritten[id(tensor)] = tensor, tensor.detach().clone()
        result = function(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        aliases = [returned.alias_info for returned in function._schema.returns]
        if not any(alias is not None and not alias.is_write for alias in aliases):   # a view is where it is
            self.calls.append((function, args, kwargs, results if all(alias is None for alias in aliases) else []))
            self.born |= {id(tensor) for tensor in results} - {id(leaf) for leaf in tree_leaves((args, kwargs))}
        return result

    def replay(self) -> None:
        for function, args, kwargs, results in self.calls:
            anew = [leaf for leaf in tree_leaves(function(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for tensor, value in zip(results, anew, strict=bool(results)):
                tensor.copy_(value)


def written(function: Any, args: tuple, kwargs: dict) -> list[Tensor]:
    """Arguments that an operation overwrites."""
    if function._schema.name == "aten::native_batch_norm":   # whose schema conceals that it moves the running statistics
        return [statistic for statistic in args[3:5] if statistic is not None]
    found = []
    for place, argument in enumerate(function._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return found
