"""ResNets for photographs: sizes, names, shapes."""
import pytest
import torch

from lib.backbone import BACKBONES
from lib.modules import CLASSIFIERS


@pytest.mark.parametrize(("name", "parameters"), [("res10", 4_916_052), ("res50", 23_549_012)])
def test_number_of_parameters_with_20_classes(name, parameters):
    backbone = BACKBONES[name]()
    classifier = CLASSIFIERS["FC"](backbone.num_features, 20)
    assert sum(p.numel() for module in (backbone, classifier) for p in module.parameters()) == parameters


def test_published_names():
    names = set(BACKBONES["res50"]().state_dict())
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv3.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} <= names
    assert not any(name.startswith(("fc", "avgpool")) for name in names)


def test_resnext_has_32_groups_of_4():
    assert BACKBONES["resnext50"]().layer1[0].conv2.weight.shape == (128, 4, 3, 3)


@pytest.mark.parametrize("size", [(64, 64), (224, 160), (50, 33)])
def test_shapes(size):
    backbone = BACKBONES["res10"]().eval()
    assert backbone(torch.randn(1, 3, *size)).shape == (1, 512, *backbone.output_size(size))


def test_initialisation():
    torch.manual_seed(0)
    weight = BACKBONES["res10"]().layer4[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
