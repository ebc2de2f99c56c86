"""Weights by name, such as torchvision:resnet50 or timm:convnext_tiny.fb_in22k: what they are of, and where they come from."""
import importlib
import logging
import os
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

import torch
from torch import Tensor

from lib.backbone.timm_model import architecture, create, timm_package
from lib.utils.errors import InputError
from lib.utils.registry import closest

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

log = logging.getLogger(__name__)

KEY = "BACKBONE.PRETRAINED_MODEL"
TORCHVISION = {"resnet18": "res18", "resnet34": "res34", "resnet50": "res50", "resnet101": "res101", "resnet152": "res152",
               "resnext50_32x4d": "resnext50"}   # its names to ours
SAFE_FILE = "model.safetensors"   # of a model on the hub of timm


class Named(NamedTuple):
    """Pretrained weights that a configuration names."""

    name: str                  # in full, with their tag
    backbone: str              # BACKBONE.TYPE
    timm_model: str            # BACKBONE.TIMM.MODEL, empty for others
    mean: tuple[float, ...]    # of the images that they were trained on, R, G, B in units of [0, 1]
    std: tuple[float, ...]
    size: tuple[int, int]      # INPUT_SIZE of that training


def is_named(text: str) -> bool:
    """Whether this is the name of pretrained weights and not of a file."""
    return text.startswith(("torchvision:", "timm:"))


def look_up(text: str) -> Named:
    """Raises InputError for a model or tag that its package does not have. Needs no network."""
    source, _, name = text.partition(":")
    if source == "torchvision":
        weights = torchvision_weights(name)
        images = weights.transforms()
        return Named(f"{source}:{name.partition('.')[0]}.{weights.name}", TORCHVISION[name.partition(".")[0]], "",
                     tuple(images.mean), tuple(images.std), (224, 224))
    own = timm_weights(name)
    return Named(f"{source}:{own.architecture}.{own.tag}", "timm", own.architecture, tuple(own.mean), tuple(own.std),
                 tuple(own.input_size[1:]))


def torchvision_weights(name: str) -> "WeightsEnum":
    from torchvision.models import get_model_weights  # not before it is needed, see lib/backbone/resnet.py

    model, _, tag = name.partition(".")
    if model not in TORCHVISION:
        raise InputError(f"{KEY}: torchvision's {model!r} is not supported; {closest(model, TORCHVISION)}; timm:NAME supports "
                         "every model of timm")
    known = get_model_weights(model)
    if tag and tag not in known.__members__:
        raise InputError(f"{KEY}: torchvision has no weights {tag!r} for {model}; it has {', '.join(known.__members__)}")
    return known[tag] if tag else known.DEFAULT


def timm_weights(name: str) -> Any:
    """The description of the weights in timm; of its default weights if the name has no tag."""
    timm, model = timm_package(), architecture(name, KEY)
    known = [full for full in timm.list_pretrained(f"{model}*") if full.partition(".")[0] == model]
    own = timm.get_pretrained_cfg(name, allow_unregistered=False) if name in known or (name == model and known) else None
    if own is None:
        tags = f"it has {', '.join(known)}" if known else "it has none for this model"
        raise InputError(f"{KEY}: timm {timm.__version__} has no weights {name!r} for {model}; {tags}")
    return own


def fetch(text: str, size: tuple[int, int]) -> dict[str, Tensor]:
    """The weights, from their package's cache or the network.

    Args:
        size: INPUT_SIZE, to which position embeddings are resampled.

    Raises:
        InputError: they cannot be downloaded; the message names the file, and the key for a local copy.
    """
    source, _, name = text.partition(":")
    return fetch_torchvision(text, torchvision_weights(name)) if source == "torchvision" else fetch_timm(text, name, size)


def fetch_torchvision(text: str, weights: "WeightsEnum") -> dict[str, Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        if not file.exists():
            log.info("%s: downloading %s", text, weights.url)
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:   # of the network, the disk, the unpickler
        raise InputError(f"{KEY}: {text} cannot be downloaded ({reason(error)}); download {weights.url} on another machine and "
                         f"put it at {file}, or set {KEY} to the file and BACKBONE.TYPE to {look_up(text).backbone}") from error


def fetch_timm(text: str, name: str, size: tuple[int, int]) -> dict[str, Tensor]:
    own = timm_weights(name)
    address, cached = hub_file(own.hf_hub_id) if own.hf_hub_id else (own.url, None)
    try:
        if cached is None:
            check_reachable(address)   # since the hub's client tries a dozen times, for a minute
            log.info("%s: downloading %s", text, address)
        return create(name, size, pretrained=True, file=cached).state_dict()
    except Exception as error:   # of the hub, the network, the disk
        raise InputError(
            f"{KEY}: {text} cannot be downloaded ({reason(error)}); download {address} on another machine and set {KEY} to the "
            f"file, BACKBONE.TYPE to timm and BACKBONE.TIMM.MODEL to {own.architecture}") from error


def hub_file(repository: str) -> tuple[str, Path | None]:
    """The URL of a model's file, and its path in the cache of the hub, None if it is not there."""
    hub = importlib.import_module("huggingface_hub")   # comes with timm
    cached = hub.try_to_load_from_cache(repository, SAFE_FILE)
    return hub.hf_hub_url(repository, SAFE_FILE), Path(cached) if isinstance(cached, (str, os.PathLike)) else None


def check_reachable(address: str) -> None:
    """Raises OSError if the host name cannot be resolved and no proxy is set."""
    if not urllib.request.getproxies():
        socket.getaddrinfo(urlparse(address).hostname, 443)


def reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")


def mismatch(named: Named, kind: str, timm_model: str) -> str:
    """Why a configuration's backbone cannot take named weights; empty if it can."""
    if kind != named.backbone:
        also = f" with BACKBONE.TIMM.MODEL {named.timm_model}" if named.timm_model else ""
        return f"{named.name} needs BACKBONE.TYPE {named.backbone}{also}, got {kind}"
    if named.timm_model != timm_model.partition(".")[0]:
        return f"{named.name} needs BACKBONE.TIMM.MODEL {named.timm_model}, got {timm_model}"
    return ""


def difference(named: Named, mean: Sequence[float], std: Sequence[float], color_space: str) -> str:
    """How the preprocessing differs from that of the training of the weights; empty if it does not."""
    if [*mean, *std] != [*named.mean, *named.std]:
        return (f"it was trained on images normalised with mean {list(named.mean)} and standard deviation {list(named.std)}; "
                f"DATASET.MEAN and STD are {list(mean)} and {list(std)}")
    return "" if color_space == "RGB" else f"it was trained on RGB images, but COLOR_SPACE is {color_space}"
