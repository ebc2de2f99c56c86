"""Checkpoints: written whole or not at all, read without executing anything that is in them."""
import hashlib
import io
import logging
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lib.utils.errors import InputError, MissingPathError
from lib.utils.files import write_bytes_atomically

log = logging.getLogger(__name__)

# Published checkpoints hold their best accuracy as a numpy scalar; its three parts, under old and new module names.
SCALAR = np.float64(0).__reduce__()[0]
SEAL = b"sha256:"   # begins the comment of our zip files, which other readers skip
CHUNK = 1 << 20
POSITION = {"epoch": int, "best_result": (int, float), "best_epoch": int, "batch": int}   # best_result is -1 before the first
PUBLISHED_GLOBALS = [(SCALAR, "numpy.core.multiarray.scalar"), (SCALAR, "numpy._core.multiarray.scalar"),
                     np.dtype, type(np.dtype(np.float64))]


def save(state: dict[str, Any], paths: Sequence[Path]) -> None:
    """Writes one state to each path, with a checksum; serialised once, and each file is replaced in one step."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    seal(buffer)
    for path in paths:
        write_bytes_atomically(path, buffer.getbuffer())


def seal(buffer: io.BytesIO) -> None:
    """Appends the content's SHA-256 as the comment of the zip archive that torch writes; ``torch.load`` reads on as before."""
    length = len(SEAL) + 2 * hashlib.sha256().digest_size
    buffer.seek(-2, io.SEEK_END)   # a zip archive ends with the length of its comment, and the comment
    buffer.write(struct.pack("<H", length))
    buffer.write(SEAL + hashlib.sha256(buffer.getbuffer()).hexdigest().encode())


def seal_holds(path: Path) -> bool:
    """Whether a file is what was written; files without a checksum (older, published, others') are taken as they are."""
    with path.open("rb") as file:
        left = file.seek(0, io.SEEK_END) - len(SEAL) - 2 * hashlib.sha256().digest_size
        file.seek(max(left, 0))
        comment = file.read()
        if not comment.startswith(SEAL):
            return True
        file.seek(0)
        digest = hashlib.sha256()
        while left > 0:
            chunk = file.read(min(CHUNK, left))
            digest.update(chunk)
            left -= len(chunk)
    return comment == SEAL + digest.hexdigest().encode()


def load(path: Path, key: str = "checkpoint") -> dict[str, Any]:
    """Reads a checkpoint to the CPU. Only tensors and plain values are accepted; code in a pickle is refused, not run.

    Args:
        key: the config key that named the file, for messages.

    Raises:
        MissingPathError: no such file.
        InputError: not a checkpoint, cut off, altered, or with anything but tensors and plain values in it.
    """
    if not path.is_file():
        raise MissingPathError(f"{key}: no file {path}; {neighbours(path)}")
    try:
        whole = seal_holds(path)
        with torch.serialization.safe_globals(PUBLISHED_GLOBALS):
            state = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except Exception as error:   # there is no end to how a foreign file can fail an unpickler
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise InputError(f"{key}: {path} cannot be read as a checkpoint ({reason})") from error
    if not whole:
        raise InputError(f"{key}: {path} is damaged: its content does not match its checksum")
    if not isinstance(state, Mapping) or not isinstance(state.get("state_dict", {}), Mapping):
        raise InputError(f"{key}: {path} holds a {type(state).__name__}, not the mapping of a checkpoint")
    return dict(state)


def neighbours(path: Path) -> str:
    """The end of a "no file" message: what is there instead."""
    names = sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
    return f"{path.parent} has {', '.join(names)}" if names else "train that stage first, or correct the path"


def weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters and buffers of a checkpoint or of a bare state_dict, without the ``module.`` of a wrapper."""
    tensors = state.get("state_dict", state)
    return {name.removeprefix("module."): value for name, value in tensors.items()
            if isinstance(name, str) and isinstance(value, Tensor)}


def load_network(network: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads all weights of a network. ``source`` is key and path, for messages."""
    load_tensors(network, weights(state), source)


def load_first_stage(network: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads the network of a first stage into one whose classifier is of the second; that says what it takes over."""
    prefix, tensors = "classifier.", weights(state)
    first = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    taken = network.classifier.from_first_stage(first, source)
    others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    load_tensors(network, others | {prefix + name: value for name, value in taken.items()}, source,
                 may_differ=[prefix + name for name in network.classifier.fresh])


def load_backbone(backbone: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads a backbone from a checkpoint of a whole network, or from the file of a backbone with or without its head."""
    tensors = weights(state)
    inner = {name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")}
    head = [name for name in tensors if name.startswith("fc.")]
    load_tensors(backbone, inner or {name: value for name, value in tensors.items() if name not in head}, source)


def load_tensors(module: nn.Module, tensors: dict[str, Tensor], source: str, may_differ: Sequence[str] = ()) -> None:
    """Copies ``tensors`` into ``module``; every missing, unexpected and mismatched name is an error, all at once.

    Args:
        may_differ: prefixes of names that may be missing, new or of another shape (a classifier to be trained anew).
    """
    own = module.state_dict()
    mismatched = {name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape}
    problems = {
        "missing": own.keys() - tensors.keys(),
        "unexpected": tensors.keys() - own.keys(),
        "of another shape": mismatched,
    }
    free = tuple(may_differ)
    found = []
    for what, names in problems.items():
        names = sorted(names)
        strict = [name for name in names if not (free and name.startswith(free)) and not name.endswith("num_batches_tracked")]
        if strict:
            more = f" and {len(strict) - 5} more" if len(strict) > 5 else ""
            shapes = [f"{n} {tuple(tensors[n].shape)} for {tuple(own[n].shape)}" if n in mismatched else n for n in strict]
            found.append(f"{what}: {', '.join(shapes[:5])}{more}")
        elif names:
            log.info("%s: %s (allowed): %s", source, what, ", ".join(names))
    if found:
        raise InputError(f"{source} does not fit this network; " + "; ".join(found))
    module.load_state_dict({name: tensors[name] for name in own if name in tensors and name not in mismatched}, strict=False)


class Start(NamedTuple):
    """Where a training begins: from scratch, from loaded weights, or from a checkpoint that it goes on with."""

    kind: str = "scratch"      # scratch | run | weights | first stage | backbone
    source: str = ""           # config key and path, for messages
    state: dict[str, Any] = {}

    @property
    def resumes(self) -> bool:
        return self.kind == "run"

    def load_weights(self, network: nn.Module) -> None:
        if self.kind == "backbone":
            load_backbone(network.backbone, self.state, self.source)
        elif self.kind == "first stage":
            load_first_stage(network, self.state, self.source)
        elif self.kind != "scratch":
            load_network(network, self.state, self.source)

    def load_optimizer(self, optimizer: Optimizer) -> None:
        """Takes the moments over; rate, momentum, decay and kernels stay those of this run's configuration."""
        saved, own = self.state["optimizer"], optimizer.state_dict()
        if not same_moments(optimizer, saved):
            raise InputError(f"{self.source} holds the state of another optimizer or of other parameters than "
                             f"{type(optimizer).__name__} of this run; RESUME_MODE state_dict takes its weights only")
        optimizer.load_state_dict({"state": saved["state"], "param_groups": own["param_groups"]})
        for parameter, moments in optimizer.state.items():
            for name, value in moments.items():
                # fused kernels take for granted that a parameter and its moments lie alike in memory
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def describe(self) -> str:
        return "weights: from scratch" if self.kind == "scratch" else f"{self.kind} loaded from {self.source}"


def same_moments(optimizer: Optimizer, saved: Mapping[str, Any]) -> bool:
    """Whether a saved state is one of this optimizer: its kind of moments, of the shapes of its parameters."""
    moment = "momentum_buffer" if isinstance(optimizer, SGD) else "exp_avg"
    groups = [group["params"] for group in optimizer.param_groups]
    try:
        if [len(group["params"]) for group in saved["param_groups"]] != [len(group) for group in groups]:
            return False
        parameters = [parameter for group in groups for parameter in group]
        return all(entry[moment] is None or entry[moment].shape == parameters[number].shape
                   for number, entry in saved["state"].items())
    except (KeyError, IndexError, TypeError, AttributeError):   # not made by an optimizer at all
        return False


def read_start(kind: str, path: Path, key: str) -> Start:
    """Raises InputError where a run is to go on from a file that holds weights only, or no position that makes sense."""
    state = load(path, key)
    lacking = [name for name in ("optimizer", "epoch") if name not in state]
    if kind == "run" and lacking:
        raise InputError(f"{key}: {path} has no {' and no '.join(lacking)}, so it cannot be gone on with; "
                         "RESUME_MODE state_dict takes its weights only")
    odd = [name for name, types in POSITION.items() if not isinstance(state.get(name, 0), types) or not state.get(name, 0) >= -1]
    if kind == "run" and odd:
        raise InputError(f"{key}: {path} is no checkpoint of a run; its {odd[0]} is {state[odd[0]]!r}")
    return Start(kind, f"{key} {path}", state)
