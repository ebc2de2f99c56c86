"""The ResNets for photographs: a 7×7 stem and four stages, each of half the size.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385; ResNeXt: Xie et al., Aggregated Residual
Transformations for Deep Neural Networks, CVPR 2017, arXiv:1611.05431. Blocks and names of parameters are torchvision's, which are
the published ones; so is the initialisation (convolutions normal with variance 2 / (k² · out)), except that of ``res50``.
"""
from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

from lib.backbone.base import BACKBONES, Backbone, Stage

STEM, PLANES = 64, {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


def torchvision_resnet(block: str, num_blocks: list[int], groups: int, width: int) -> tuple[Any, Any]:
    """A network of torchvision, and the class of its blocks."""
    from torchvision.models import resnet  # here, since it brings torch's compiler, a third of the time that a start takes

    kind = getattr(resnet, block)
    return resnet.ResNet(kind, num_blocks, groups=groups, width_per_group=width), kind


class ResNet(Backbone):
    """A ResNet or ResNeXt for photographs.

    Args:
        block: name of the residual block in torchvision.
        num_blocks: blocks of the four stages.
        groups, width: groups of the 3×3 convolutions, and channels of one in the first stage (ResNeXt).
    """

    stride = 32
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    relu: nn.ReLU
    maxpool: nn.MaxPool2d
    torch_defaults = False   # of convolutions, as of ``res50``
    experts_from = "layer3"   # of Wang et al., RIDE, ICLR 2021, arXiv:2010.01809

    def __init__(self, block: Literal["BasicBlock", "Bottleneck"], num_blocks: list[int], groups: int = 1,
                 width: int = 64) -> None:
        super().__init__()
        self.block, self.num_blocks, self.groups, self.width = block, num_blocks, groups, width
        whole, kind = torchvision_resnet(block, num_blocks, groups, width)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(whole, name))
        self.num_features = 512 * kind.expansion

    def stem(self, images: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def stages(self) -> Iterator[Stage]:
        yield "stem", self.stem
        for name in PLANES:
            yield name, self.stage(name)

    def branch(self, first: str, width: float) -> tuple[nn.ModuleDict, int]:
        names = list(PLANES)
        shared, own = names[:names.index(first)], names[names.index(first):]
        maker, kind = torchvision_resnet(self.block, [1, 1, 1, 1], self.groups, self.width)
        maker.inplanes = PLANES[shared[-1]] * kind.expansion if shared else STEM
        stages = nn.ModuleDict()
        for name in own:
            stages[name] = maker._make_layer(kind, int(width * PLANES[name]), self.num_blocks[names.index(name)],
                                             stride=1 if name == "layer1" else 2)
        self.draw(stages)
        return stages, maker.inplanes

    def draw(self, root: nn.Module) -> None:
        """Initialises the weights of new stages as torchvision does, or with the defaults of torch."""
        for module in root.modules():
            if isinstance(module, nn.Conv2d) and not self.torch_defaults:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Conv2d):
                module.reset_parameters()


@BACKBONES.register("res10")
def res10() -> ResNet:
    """One basic block per stage, as for ImageNet-LT in Liu et al., CVPR 2019, arXiv:1904.05160."""
    return ResNet("BasicBlock", [1, 1, 1, 1])


@BACKBONES.register("res18")
def res18() -> ResNet:
    return ResNet("BasicBlock", [2, 2, 2, 2])


@BACKBONES.register("res34")
def res34() -> ResNet:
    return ResNet("BasicBlock", [3, 4, 6, 3])


@BACKBONES.register("res50")
def res50() -> ResNet:
    """ResNet-50. Its convolutions begin with torch's defaults, uniform in ±1 / √fan_in, as published."""
    backbone = ResNet("Bottleneck", [3, 4, 6, 3])
    backbone.torch_defaults = True
    backbone.draw(backbone)
    return backbone


@BACKBONES.register("res101")
def res101() -> ResNet:
    return ResNet("Bottleneck", [3, 4, 23, 3])


@BACKBONES.register("res152")
def res152() -> ResNet:
    return ResNet("Bottleneck", [3, 8, 36, 3])


@BACKBONES.register("resnext50")
def resnext50() -> ResNet:
    """ResNeXt-50, 32×4d."""
    return ResNet("Bottleneck", [3, 4, 6, 3], groups=32, width=4)
