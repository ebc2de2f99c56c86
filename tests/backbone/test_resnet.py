"""ResNets for photographs: sizes, names, shapes."""
import pytest
import torch
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, ResNet

from lib.backbone import BACKBONES
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Network
from lib.run.checkpoint import load_backbone, load_network


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


PHOTOGRAPHS = ["res10", "res18", "res34", "res50", "res101", "res152", "resnext50"]
DEEP = ["res101", "res152"]
OF_TORCHVISION = {"res18": "resnet18", "res34": "resnet34", "res50": "resnet50", "res101": "resnet101", "res152": "resnet152",
                  "resnext50": "resnext50_32x4d"}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_stages_are_the_places_of_manifold_mixup(name):
    with torch.device("meta"):
        assert [stage for stage, _ in BACKBONES[name]().stages()] == ["stem", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP)) for name in PHOTOGRAPHS])
def test_stages_compose_to_torchvision_s_network(name):
    """With its weights, the maps before pooling are torchvision's own, so that its checkpoints mean the same here."""
    torch.manual_seed(0)
    whole = ResNet(BasicBlock, [1, 1, 1, 1]) if name == "res10" else get_model(OF_TORCHVISION[name])
    backbone = BACKBONES[name]().eval()
    whole.eval()
    load_backbone(backbone, whole.state_dict(), "torchvision")
    images, maps = torch.randn(1, 3, 40, 32), []
    whole.layer4.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.no_grad():
        whole(images)
        assert torch.equal(backbone(images), maps[0])


def test_a_published_checkpoint_loads():
    """Names as the published code wrote them, with DataParallel's prefix."""
    torch.manual_seed(0)
    saved, network = (Network(BACKBONES["res10"](), POOLINGS["GAP"](), CLASSIFIERS["FC"](512, 20)) for _ in range(2))
    state = {f"module.{name}": value for name, value in saved.state_dict().items()}
    assert {"module.backbone.layer1.0.conv1.weight", "module.backbone.layer4.0.downsample.1.running_var",
            "module.classifier.weight"} <= set(state)
    load_network(network, {"state_dict": state}, "a checkpoint")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in saved.state_dict().items())


@pytest.mark.parametrize("size", [(64, 64), (224, 160), (50, 33)])
def test_shapes(size):
    backbone = BACKBONES["res10"]().eval()
    assert backbone(torch.randn(1, 3, *size)).shape == (1, 512, *backbone.output_size(size))
