"""Checkpoints: written atomically, and read without executing code that they contain."""
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.backbone import Backbone
from lib.run import foreign
from lib.run.moments import load_moments
from lib.run.plain_files import read_plain
from lib.run.recognise import recognise
from lib.run.seal import seal, seal_holds
from lib.utils.errors import InputError, MissingPathError
from lib.utils.files import write_bytes_atomically

log = logging.getLogger(__name__)

OTHER_KEYS = "BACKBONE.PRETRAINED_MODEL takes it without its classifier; so does CLASSIFIER.TYPE cRT, to train a new one"
KEYS = ("RESUME_MODEL", "NETWORK.PRETRAINED_MODEL", "BACKBONE.PRETRAINED_MODEL")   # the first one that is set is loaded
SUFFIXES = (".pth", ".pt", ".safetensors")   # suffixes of weight files
OTHERS_STATE = ("scheduler", "lr_scheduler", "amp", "scaler")   # entries of other programs that are not used here
# types of the entries that give the position of a run; best_result is -1 before the first validation
POSITION: dict[str, Any] = {"epoch": int, "best_result": (int, float), "best_epoch": int, "batch": int}


def save(state: dict[str, Any], paths: Sequence[Path]) -> None:
    """Writes the state with a checksum to each path. It is serialised only once, and each file is replaced atomically."""
    buffer = io.BytesIO()
    torch.save(state | {"format": foreign.FORMAT}, buffer)
    seal(buffer)
    for path in paths:
        write_bytes_atomically(path, buffer.getbuffer())


def load(path: Path, key: str = "checkpoint") -> dict[str, Any]:
    """Loads a checkpoint to the CPU. Only tensors and plain values are accepted; a pickle that contains code is refused.

    Args:
        key: the config key that named the file, for messages.

    Raises:
        MissingPathError: the file does not exist.
        InputError: the file is no checkpoint, is truncated or altered, or contains more than tensors and plain values.
    """
    if not path.is_file():
        raise MissingPathError(f"{key}: no file {path}; {neighbours(path)}")
    try:
        whole = seal_holds(path)
        state = read_plain(path) if whole else None
    except (InputError, OSError) as error:
        raise InputError(f"{key}: {path} cannot be read as a checkpoint ({error})") from error
    if not whole:
        raise InputError(f"{key}: {path} is damaged: its content does not match its checksum")
    if not isinstance(state, Mapping) or not isinstance(state.get("state_dict", {}), Mapping):
        raise InputError(f"{key}: {path} holds a {type(state).__name__}, not the mapping of a checkpoint")
    return dict(state)


def peek(path: Path) -> dict[str, Any]:
    """Reads the plain values of a checkpoint; tensors are mapped, not read. Empty if the file is missing or unreadable."""
    try:
        state = read_plain(path, mapped=True)
    except (InputError, OSError):
        return {}
    return dict(state) if isinstance(state, Mapping) else {}


def position(state: Mapping[str, Any]) -> tuple[int, int]:
    """The last finished epoch, and the finished batches of the next epoch; (-1, 0) if the checkpoint does not have them."""
    epoch, batch = state.get("epoch", -1), state.get("batch", 0)
    return (epoch, batch) if isinstance(epoch, int) and isinstance(batch, int) else (-1, 0)


def neighbours(path: Path) -> str:
    """The end of a "no file" message: the weight files that exist there, or other advice."""
    here = Path(path.name)
    if here.is_file():
        return f"the working directory has it, and ./{here} names that one"
    folder = path if path.is_dir() else path.parent
    names = sorted(p.name for p in folder.glob("*") if p.suffix in SUFFIXES)
    if names:
        return f"{folder} has {foreign.listed(names)}"
    return f"{folder} is a folder" if folder == path else "train that stage first, or correct the path"


class Fit(NamedTuple):
    """Tensors of a file that were checked to fit a module, with notes for the log."""

    module: nn.Module
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    source: str

    def load(self) -> None:
        self.module.load_state_dict(self.tensors, strict=False)
        for note in self.notes:
            log.info("%s: %s", self.source, note)


def load_network(network: Any, state: Mapping[str, Any], source: str) -> None:
    """Loads all weights of a network. ``source`` is the config key and the path, for messages."""
    fit_network(network, state, source).load()


def fit_network(network: Any, state: Mapping[str, Any], source: str, resumes: bool = False, advice: str = "") -> Fit:
    """Checks that the weights of a checkpoint fit a network, without loading them. Raises InputError if they do not.

    Args:
        resumes: whether the state of the optimizer is loaded too.
        advice: what to suggest if the classifier does not fit.
    """
    found = foreign.network_weights(network, state, source, resumes)
    origin, own = foreign.classifier_origin(state, source), network.classifier
    if origin.cosine not in (None, own.cosine):   # the shapes are equal for both kinds
        raise InputError(f"{source} was trained with CLASSIFIER.TYPE {origin.kind}, and weights of FCNorm and of a linear layer "
                         f"do not mean the same; CLASSIFIER.TYPE {origin.kind} takes it" + f"; {advice}" * bool(advice))
    return fit_tensors(network, found, source, hint=classifier_hint(network, found, advice))


def classifier_hint(network: Any, found: foreign.FoundWeights, advice: str) -> str:
    """The most likely reason why a classifier does not fit; ``advice`` if there is none."""
    there, own = (foreign.within(tensors, foreign.CLASSIFIER) for tensors in (found.tensors, network.state_dict()))
    shapes = [tuple(tensors["weight"].shape) for tensors in (there, own) if "weight" in tensors]
    if [len(shape) for shape in shapes] != [2, 2]:
        return advice
    if shapes[0] == shapes[1][::-1] != shapes[1]:
        return "its classifier is the cosine one, CLASSIFIER.TYPE FCNorm"
    if shapes[0][1] == shapes[1][1] and shapes[0] != shapes[1]:
        return f"it was trained for {shapes[0][0]} classes, but the data have {shapes[1][0]}" + f"; {advice}" * bool(advice)
    if "bias" in there and "bias" not in own:
        return "its classifier has a bias: CLASSIFIER.TYPE FC with CLASSIFIER.BIAS True"
    if "bias" in own and "bias" not in there:
        return "its classifier has no bias: CLASSIFIER.TYPE FCNorm, or CLASSIFIER.BIAS False"
    return advice


def load_first_stage(network: Any, state: Mapping[str, Any], source: str) -> None:
    """Loads a first-stage network into one with a second-stage classifier, which chooses the weights that it takes over."""
    prefix, found = foreign.CLASSIFIER, foreign.network_weights(network, state, source)
    taken = network.classifier.from_first_stage(foreign.within(found.tensors, prefix), foreign.classifier_origin(state, source))
    others = {name: value for name, value in found.tensors.items() if not name.startswith(prefix)}
    found = found._replace(tensors=others | {prefix + name: value for name, value in taken.items()})
    fit_tensors(network, found, source, may_differ=[prefix + name for name in network.classifier.fresh]).load()


def load_backbone(backbone: Backbone, state: Mapping[str, Any], source: str) -> None:
    """Loads a backbone from a checkpoint of a whole network, or from a weight file of the backbone with or without its head."""
    try:
        fit_tensors(backbone.weights, foreign.backbone_weights(backbone, state, source), source).load()
    except InputError as error:
        kind = recognise(state, Path(source.partition(" ")[2]))
        if kind is None:
            raise
        raise InputError(f"{error}; it was trained with {kind}") from error


def fit_tensors(module: nn.Module, found: foreign.FoundWeights, source: str, may_differ: Sequence[str] = (),
                hint: str = "") -> Fit:
    """Selects the weights that ``module`` takes. One InputError lists all missing, unexpected and mismatched names.

    Args:
        may_differ: prefixes of names that may be missing, unexpected or of another shape (a classifier trained from scratch).
        hint: the end of the error message if the backbone fits.
    """
    own, tensors = module.state_dict(), found.tensors
    mismatched = {name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape}
    problems = {
        "missing": own.keys() - tensors.keys(),
        "unexpected": tensors.keys() - own.keys(),
        "of another shape": mismatched,
    }
    free = tuple(may_differ)
    errors, notes = [], []
    for what, found_names in problems.items():
        names = sorted(found_names)
        strict = [name for name in names if not (free and name.startswith(free)) and not name.endswith("num_batches_tracked")]
        if strict:
            errors.append(f"{what}: " + foreign.listed(f"{n} {tuple(tensors[n].shape)} for {tuple(own[n].shape)}"
                                                       if n in mismatched else n for n in strict))
        elif names:
            notes.append(f"{what} (allowed): {', '.join(names)}")
    if errors:
        hint = hint if found.fits else "it has another backbone than BACKBONE.TYPE"
        raise InputError("; ".join([f"{source} does not fit this network", *errors, *[hint] * bool(hint)]))
    taken = {name: tensors[name] for name in own if name in tensors and name not in mismatched}
    return Fit(module, taken, (*found.notes, *notes), source)


class Start(NamedTuple):
    """The start of a training: from scratch, from loaded weights, or from a checkpoint of a run to be resumed."""

    kind: str = "scratch"      # scratch | run | weights | first stage | backbone | network (used, not trained)
    source: str = ""           # config key and path of the file, for messages
    state: dict[str, Any] = {}

    @property
    def resumes(self) -> bool:
        return self.kind == "run"

    def check_weights(self, network: nn.Module) -> None:
        """Checks that the weights fit the network, without loading them. Raises InputError if they do not."""
        fit_network(network, self.state, self.source, self.resumes)

    def load_weights(self, network: Any) -> None:
        if self.kind == "backbone":
            load_backbone(network.backbone, self.state, self.source)
        elif self.kind == "first stage":
            load_first_stage(network, self.state, self.source)
        elif self.kind != "scratch":
            advice = OTHER_KEYS if self.kind == "weights" else ""
            fit_network(network, self.state, self.source, self.resumes, advice).load()

    def load_optimizer(self, optimizer: Optimizer, network: nn.Module) -> None:
        """Loads the moments of the optimizer. Learning rate, momentum, weight decay and kernels remain as configured."""
        names = foreign.network_weights(network, self.state, self.source, self.resumes).transposed
        transposed = {parameter for name, parameter in network.named_parameters() if name in names}
        load_moments(optimizer, self.state["optimizer"], transposed, self.source)
        unused = [name for name in OTHERS_STATE if name in self.state]
        if unused:
            log.info("%s: not used: %s; the rate is a function of the epoch here, and loss scaling begins with its first scale",
                     self.source, ", ".join(unused))

    def tell_unused(self, options: Mapping[str, Any]) -> None:
        """Logs the weight files that the configuration names but that are not loaded."""
        for key in KEYS:
            if options[key] and not self.source.startswith(key):
                gated = key == "NETWORK.PRETRAINED_MODEL" and not options["NETWORK.PRETRAINED"]
                log.info("%s: %s is not loaded, since %s", key, options[key],
                         "NETWORK.PRETRAINED is False" if gated else f"{self.source} is loaded instead")

    def describe(self) -> str:
        return "weights: from scratch" if self.kind == "scratch" else f"{self.kind} loaded from {self.source}"


def read_start(kind: str, path: Path, key: str) -> Start:
    """Loads the checkpoint of a start. To resume a run, it must have an optimizer state and a valid position, else InputError."""
    state = load(path, key)
    state |= {name: state[name].item() for name in POSITION if isinstance(state.get(name), np.generic)}
    lacking = [name for name in ("optimizer", "epoch") if name not in state]
    if kind == "run" and lacking:
        raise InputError(f"{key}: {path} has no {' and no '.join(lacking)}, so training cannot be resumed from it; "
                         "RESUME_MODE state_dict loads its weights only")
    odd = [name for name, types in POSITION.items() if not isinstance(state.get(name, 0), types) or not state.get(name, 0) >= -1]
    if kind == "run" and odd:
        raise InputError(f"{key}: {path} is no checkpoint of a run; its {odd[0]} is {state[odd[0]]!r}")
    return Start(kind, f"{key} {path}", state)
