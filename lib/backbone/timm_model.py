"""Any model of the package timm as a backbone: convolutional networks, vision transformers and all others.

Wightman, PyTorch Image Models, 2019. The package is optional: pip install timm.
"""
import importlib
import inspect
import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.backbone.base import BACKBONES, Backbone, Stage
from lib.utils.errors import InputError
from lib.utils.registry import closest

KEY = "BACKBONE.TIMM.MODEL"
INSTALL = "the package timm is not installed; pip install timm"


class Shapes(NamedTuple):
    """The shapes of a model's output for one image."""

    num_features: int
    maps: tuple[int, int] | None   # height and width of the feature maps, None where it ends with its own pooling


@BACKBONES.register("timm")
class TimmBackbone(Backbone):
    """A model of timm without its classifier, images (B, 3, H, W) to the input of timm's classifier.

    Where timm's head is a mean over the positions, the result is the feature maps (B, D, h, w), as of the other backbones.
    Any other head is part of the backbone, as timm has it: the class token or the mean of a ViT, the norm after ConvNeXt's
    pooling. Then there is one position, (B, D, 1, 1), and no class activation map.

    Args:
        model: name in timm, such as ``convnext_tiny`` or ``vit_small_patch16_224``; a tag behind a dot is accepted.
        input_size: INPUT_SIZE, which models with position embeddings are built for.

    Raises:
        InputError: timm is not installed, does not have the model, or the model cannot take this size.
    """

    def __init__(self, *, model: str, input_size: tuple[int, int]) -> None:
        super().__init__()
        shapes = measure(model, tuple(input_size))
        self.num_features, self.has_maps = shapes.num_features, shapes.maps is not None
        self.maps = shapes.maps or (1, 1)
        self.stride = math.ceil(input_size[0] / self.maps[0])
        self.model: Any = create(model, (input_size[0], input_size[1]))

    @property
    def weights(self) -> nn.Module:
        return self.model

    def stages(self) -> Iterator[Stage]:
        yield "features", self.model.forward_features
        if not self.has_maps:
            yield "head", self.head

    def head(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features, pre_logits=True).flatten(1)[:, :, None, None]

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Uses timm's own function for files of such models: it converts older names and resizes position embeddings."""
        convert = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        return dict(convert(dict(tensors), self.model)) if convert else tensors

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.maps


def timm_package() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError(f"BACKBONE.TYPE: timm: {INSTALL}") from error


def architecture(model: str, key: str = KEY) -> str:
    """The name without the tag of its weights. Raises InputError for one that timm does not have."""
    timm, name = timm_package(), model.partition(".")[0]
    if not name:
        raise InputError(f"{key}: must name a model of timm, such as convnext_tiny; timm.list_models() lists them")
    if not timm.is_model(name):
        near = closest(name, timm.list_models())
        raise InputError(f"{key}: timm {timm.__version__} has no model {name!r}; "
                         + (near if near.startswith("did") else "timm.list_models() lists them"))
    return name


def create(model: str, size: tuple[int, int], pretrained: bool = False, file: Path | None = None) -> Any:
    """Creates the model without a classifier; models that are built for one image size are built for ``size``.

    Args:
        pretrained: load the weights of its tag, which timm fetches; otherwise initialise.
        file: path of a local copy of the weights.
    """
    options: dict[str, Any] = {"img_size": size} if takes_size(architecture(model)) else {}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file), "custom_load": False}
    return timm_package().create_model(model, pretrained=pretrained, num_classes=0, **options)


@cache
def takes_size(name: str) -> bool:
    """Whether a model is built for one image size."""
    with torch.device("meta"):
        whole = timm_package().create_model(name, pretrained=False, num_classes=0)
    return "img_size" in inspect.signature(type(whole).__init__).parameters


@cache
def measure(model: str, size: tuple[int, int]) -> Shapes:
    """The shapes of a model's output for one image of ``size``, found on the meta device."""
    name = architecture(model)
    try:
        with torch.device("meta"):   # no memory, no initialisation
            whole = create(model, size).eval()
            check_patches(whole, size)
            with torch.no_grad():
                features = whole.forward_features(torch.empty(1, 3, *size))
                pooled = whole.forward_head(features, pre_logits=True)
    except Exception as error:   # each model has checks of its own
        own = timm_package().get_pretrained_cfg(name)
        usual = f"; its default size is {list(own.input_size[1:])}" if own else ""
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise InputError(f"INPUT_SIZE: timm's {name} does not accept {list(size)} ({reason}){usual}") from error
    maps = tuple(features.shape[2:]) if averages(whole, features) else None
    return Shapes(pooled.flatten(1).shape[1], maps)


def model_size(name: str) -> tuple[int, int]:
    """The usual INPUT_SIZE of a model."""
    return tuple(timm_package().get_pretrained_cfg(name).input_size[1:])


@cache
def has_batchnorm(name: str) -> bool:
    with torch.device("meta"):
        return any(isinstance(module, _BatchNorm) for module in create(name, model_size(name)).modules())


def check_patches(model: nn.Module, size: tuple[int, int]) -> None:
    """Raises ValueError where patches would leave out the image's last rows or columns."""
    patches = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(patches, int):
        patches = patches, patches
    if patches and any(side % patch for side, patch in zip(size, patches)):
        raise ValueError(f"height and width must be divisible by its patch size, {' × '.join(map(str, patches))} pixels")


def averages(model: Any, features: Tensor) -> bool:
    """Whether a model's head, up to its classifier, is the mean over the positions of its feature maps, and nothing else."""
    if not isinstance(features, Tensor) or features.dim() != 4:
        return False
    maps = torch.rand(1, features.shape[1], 2, 3, device="cpu")
    try:
        pooled = model.forward_head(maps, pre_logits=True)
    except Exception:   # parameters, which are on the meta device, or another layout of the maps
        return False
    means = maps.mean(dim=(2, 3)).flatten()
    return pooled.device.type == "cpu" and pooled.numel() == means.numel() and pooled.flatten().allclose(means)
