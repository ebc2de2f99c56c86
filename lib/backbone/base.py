"""The contract every backbone follows."""
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib.utils.registry import Registry

BACKBONES = Registry("backbone")
Stage = tuple[str, Callable[[Tensor], Tensor]]
DRAWS = Tensor.normal_, Tensor.uniform_


class Backbone(nn.Module):
    """A network without its classifier: images (B, 3, H, W) to feature maps (B, num_features, H / stride, W / stride), through
    named stages.

    Attributes:
        num_features: channels of the last stage, D.
        stride: factor by which the maps of the last stage are smaller than the image.
        has_maps: whether the maps of the last stage have spatial positions, so that class activation maps can be computed.
        num_experts: number of copies of the last stages, see ``repeat``; their maps are concatenated as channels.

    Class attributes:
        experts_from: default first stage of the experts; empty if stages cannot be repeated.
    """

    num_features: int
    stride: int
    has_maps = True
    experts_from = ""
    num_experts = 1

    @property
    def weights(self) -> nn.Module:
        """The module whose parameters have their published names."""
        return self

    def stages(self) -> Iterator[Stage]:
        """Yields (name, function) in the order of computation; mixing methods refer to the names."""
        raise NotImplementedError(f"{type(self).__name__} must implement stages")

    def forward(self, images: Tensor) -> Tensor:
        for _, stage in self.stages():
            images = stage(images)
        return images

    def stage(self, name: str) -> Callable[[Tensor], Tensor]:
        """The module of that name; for a stage that experts repeat, the modules of all experts."""
        return getattr(self, name) if hasattr(self, name) else partial(self.expert_stages, name)

    def repeat(self, num: int, first: str, width: float) -> None:
        """Makes ``num`` experts of the stages from ``first`` on, with new weights; earlier stages are shared.

        An expert has ``width`` times the channels of its stages. Parameters of shared stages keep their names, those of expert
        e are ``experts.e.`` and the name.
        """
        names = [name for name, _ in self.stages()]
        repeated = names[names.index(first):]
        branches = [self.branch(first, width) for _ in range(num)]
        for name in repeated:
            delattr(self, name)
        self.experts, self.num_experts = nn.ModuleList(stages for stages, _ in branches), num
        self.first_of_experts, self.num_features = first, num * branches[0][1]

    def branch(self, first: str, width: float) -> tuple[nn.ModuleDict, int]:
        """Builds new stages from ``first`` on, with ``width`` times the channels; returns them and the last channels."""
        raise NotImplementedError(f"{type(self).__name__} must implement branch, or leave experts_from empty")

    def expert_stages(self, name: str, maps: Tensor) -> Tensor:
        inputs = [maps] * self.num_experts if name == self.first_of_experts else maps.chunk(self.num_experts, dim=1)
        return torch.cat([expert.get_submodule(name)(own) for expert, own in zip(self.experts, inputs)], dim=1)

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Converts the weights of a file to the form that ``weights`` needs, for libraries whose files have several forms."""
        return tensors

    def check_input(self, size: tuple[int, int]) -> None:
        """Raises InputError for an INPUT_SIZE (height, width) that this backbone cannot take."""

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the last feature maps; each halving rounds up."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)


class Undrawn(TorchFunctionMode):
    """A mode in which weights are not initialised. To initialise parameters on the meta device, torch would load its compiler."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        return args[0] if func in DRAWS else func(*args, **(kwargs or {}))


@cache
def on_meta(builder: Callable[..., Backbone], options: tuple[tuple[str, Any], ...] = ()) -> Backbone:
    """Builds a backbone on the meta device: its parameters have no memory and are not initialised."""
    with torch.device("meta"), Undrawn():
        return builder(**dict(options))
