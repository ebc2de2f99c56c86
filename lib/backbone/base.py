"""The contract every backbone follows."""
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lib.utils.registry import Registry

BACKBONES = Registry("backbone")
Stage = tuple[str, Callable[[Tensor], Tensor]]


class Backbone(nn.Module):
    """Images (B, 3, H, W) to feature maps (B, num_features, H / stride, W / stride), through named stages.

    Attributes:
        num_features: channels of the last stage, D.
        stride: by which the last stage's maps are smaller than the image.
        has_maps: whether the last stage's maps are of places in the image, of which class activation maps can be made.
    """

    num_features: int
    stride: int
    has_maps = True

    @property
    def weights(self) -> nn.Module:
        """The module whose parameters have their published names."""
        return self

    def stages(self) -> Iterator[Stage]:
        """(name, function) in the order of computation; mixing methods refer to the names."""
        raise NotImplementedError(f"{type(self).__name__} must name its stages")

    def forward(self, images: Tensor) -> Tensor:
        for _, stage in self.stages():
            images = stage(images)
        return images

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a file in the form that ``weights`` takes, where a library's files have several."""
        return tensors

    def check_input(self, size: tuple[int, int]) -> None:
        """Raises InputError for an INPUT_SIZE (height, width) that this backbone cannot take."""

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the last feature maps; each halving rounds up."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)


@cache
def on_meta(builder: Callable[..., Backbone], options: tuple[tuple[str, Any], ...] = ()) -> Backbone:
    """A backbone without memory for its parameters, and without their initialisation."""
    with torch.device("meta"):
        return builder(**dict(options))
