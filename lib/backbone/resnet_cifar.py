"""The ResNets for images of 32×32: three stages of 16, 32 and 64 channels, and shortcuts without parameters.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385, section 4.2. Names of the parameters are the
published ones (conv1, bn1, layer1.0.conv1, …), so that published checkpoints load.
"""
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from lib.backbone.base import BACKBONES, Backbone, Stage
from lib.utils.errors import InputError

STEM, CHANNELS = 16, {"layer1": 16, "layer2": 32, "layer3": 64}


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut of option A: every second pixel, new channels zero on both sides."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        return F.pad(x[:, :, ::self.stride, ::self.stride], [0, 0, 0, 0, self.new_channels // 2, self.new_channels // 2])

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class ResNetCifar(Backbone):
    """A ResNet for images of 32×32 pixels.

    Args:
        num_blocks: residual blocks per stage, n; the network has 6n + 2 layers with its classifier.
    """

    num_features = 64
    stride = 4
    experts_from = "layer2"   # of Wang et al., RIDE, ICLR 2021, arXiv:2010.01809

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = make_stage(16, 16, num_blocks, stride=1)
        self.layer2 = make_stage(16, 32, num_blocks, stride=2)
        self.layer3 = make_stage(32, 64, num_blocks, stride=2)
        draw_convolutions(self)

    def check_input(self, size: tuple[int, int]) -> None:
        if any(side < self.stride or side % self.stride for side in size):
            raise InputError(f"INPUT_SIZE: {type(self).__name__} needs sides divisible by {self.stride}, got {list(size)}")

    def stem(self, images: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(images)), inplace=True)

    def stages(self) -> Iterator[Stage]:
        yield "stem", self.stem
        for name in CHANNELS:
            yield name, self.stage(name)

    def branch(self, first: str, width: float) -> tuple[nn.ModuleDict, int]:
        names = list(CHANNELS)
        shared, own = names[:names.index(first)], names[names.index(first):]
        channels, stages = CHANNELS[shared[-1]] if shared else STEM, nn.ModuleDict()
        for name in own:
            wider = int(width * CHANNELS[name])
            stages[name] = make_stage(channels, wider, self.num_blocks, stride=1 if name == "layer1" else 2)
            channels = wider
        draw_convolutions(stages)
        return stages, channels


def draw_convolutions(root: nn.Module) -> None:
    for module in root.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def make_stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    blocks = [BasicBlock(in_channels, channels, stride)]
    blocks += [BasicBlock(channels, channels, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)


@BACKBONES.register("res20_cifar")
def res20_cifar() -> ResNetCifar:
    return ResNetCifar(num_blocks=3)


@BACKBONES.register("res32_cifar")
def res32_cifar() -> ResNetCifar:
    """ResNet-32: 464,154 parameters with a classifier of 10 classes."""
    return ResNetCifar(num_blocks=5)


@BACKBONES.register("res44_cifar")
def res44_cifar() -> ResNetCifar:
    return ResNetCifar(num_blocks=7)


@BACKBONES.register("res56_cifar")
def res56_cifar() -> ResNetCifar:
    return ResNetCifar(num_blocks=9)
