"""Recognises the backbone of a weight file by its configuration, by the names and shapes of its parameters, and by its name."""
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lib.backbone import BACKBONES, Backbone, on_meta
from lib.backbone.timm_model import TimmBackbone, timm_package
from lib.run.foreign import backbone_weights
from lib.utils.errors import InputError

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """The config values that select a backbone."""

    backbone: str          # BACKBONE.TYPE
    timm_model: str = ""   # BACKBONE.TIMM.MODEL

    def __str__(self) -> str:
        return f"BACKBONE.TYPE {self.backbone}" + f" with BACKBONE.TIMM.MODEL {self.timm_model}" * bool(self.timm_model)


def recognise(state: Mapping[str, Any], path: Path) -> Kind | None:
    """Finds the backbone to which all weights of a file belong, apart from its head; None if there is none.

    Candidates among the models of timm come from the name of the file or of its folder, or from a config.json beside it, as on
    timm's hub. The names and shapes of their parameters must also agree.
    """
    config = state.get("config")
    if isinstance(config, Mapping) and isinstance(config.get("BACKBONE.TYPE"), str):
        return Kind(config["BACKBONE.TYPE"], str(config.get("BACKBONE.TIMM.MODEL", "")))
    plain = {name: on_meta(BACKBONES[name]) for name in BACKBONES if not BACKBONES.options(name)}
    fitting = [name for name, backbone in plain.items() if takes(backbone, state)]
    if fitting:
        return Kind(fitting[0])
    for model in timm_names(path):
        size = timm_package().get_pretrained_cfg(model).input_size[1:]
        if takes(on_meta(TimmBackbone, (("model", model), ("input_size", tuple(size)))), state):
            return Kind("timm", model)
    return None


def takes(backbone: Backbone, state: Mapping[str, Any]) -> bool:
    """Whether a file has all parameters of a backbone with equal shapes, and no others except those of a head."""
    own = backbone.weights.state_dict()
    try:
        found = backbone_weights(backbone, state, "").tensors
    except InputError:
        return False
    counters = {name for name in own.keys() | found.keys() if name.endswith("num_batches_tracked")}
    return own.keys() - counters == found.keys() - counters and all(
        found[name].shape == own[name].shape for name in own.keys() - counters)


def timm_names(path: Path) -> Iterator[str]:
    """Yields the models of timm that a file may belong to, judging by names; none if timm is not installed."""
    try:
        models = timm_package().list_models()
    except InputError:
        return
    told = read_architecture(path.parent / "config.json")
    if told in models:
        yield told
    for name in (path.stem, path.parent.name):
        name = name.replace("-", "_").lower()
        yield from sorted((model for model in models if name.startswith(model)), key=len, reverse=True)[:3]


def read_architecture(path: Path) -> str:
    """Reads the architecture in a config.json; empty if the file or the entry is missing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("architecture", "")) if isinstance(content, dict) else ""
