"""ResNet-32 is the published one: size, names, shortcut, shapes."""
import pytest
import torch

from lib.backbone import BACKBONES
from lib.backbone.resnet_cifar import BasicBlock
from lib.modules import CLASSIFIERS
from lib.utils.errors import InputError


def test_number_of_parameters():
    backbone, classifier = BACKBONES["res32_cifar"](), CLASSIFIERS["FC"](64, 10)
    assert sum(p.numel() for module in (backbone, classifier) for p in module.parameters()) == 464_154


@pytest.mark.parametrize(("name", "layers"), [("res20_cifar", 20), ("res32_cifar", 32), ("res44_cifar", 44), ("res56_cifar", 56)])
def test_depth(name, layers):
    convolutions = [m for m in BACKBONES[name]().modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == layers   # and the classifier


def test_published_names():
    names = set(BACKBONES["res32_cifar"]().state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.4.bn2.bias", "layer3.4.conv2.weight"} <= names
    assert not any("shortcut" in name or "downsample" in name for name in names)


def test_stages_compose_to_the_forward_pass():
    backbone = BACKBONES["res20_cifar"]().eval()
    x = images = torch.randn(2, 3, 8, 8)
    names = []
    for name, stage in backbone.stages():
        names.append(name)
        x = stage(x)
    assert names == ["stem", "layer1", "layer2", "layer3"]
    assert torch.equal(x, backbone(images))


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (28, 28), (32, 32), (32, 64)])
def test_shapes(size):
    backbone = BACKBONES["res20_cifar"]().eval()
    backbone.check_input(size)
    assert backbone(torch.randn(1, 3, *size)).shape == (1, backbone.num_features, *backbone.output_size(size))


@pytest.mark.parametrize("size", [(30, 30), (32, 33), (0, 4)])
def test_sides_that_do_not_divide_are_refused(size):
    with pytest.raises(InputError, match=r"INPUT_SIZE: .*divisible by 4"):
        BACKBONES["res32_cifar"]().check_input(size)


def test_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    x = torch.randn(1, 4, 6, 6)
    y = BasicBlock(4, 8, stride=2).shortcut(x)
    assert y.shape == (1, 8, 3, 3)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert (y[:, :2] == 0).all()
    assert (y[:, 6:] == 0).all()


def test_channels_last_changes_nothing_but_the_layout():
    torch.manual_seed(0)
    backbone = BACKBONES["res20_cifar"]().eval()
    images = torch.randn(2, 3, 16, 16)
    expected = backbone(images)
    actual = backbone.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert actual.is_contiguous(memory_format=torch.channels_last)
