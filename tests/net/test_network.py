"""One forward pass: names, mixing at every place, freezing."""
import pytest
import torch

from lib.backbone import BACKBONES
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Mix, Network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(BACKBONES["res20_cifar"](), POOLINGS["GAP"](), CLASSIFIERS["FC"](64, 5)).eval()


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PARTNER = torch.tensor([2, 0, 3, 1])
WEIGHT = torch.tensor([1.0, 0.3, 0.0, 0.5])
LAYERS = ["stem", "layer1", "layer2", "layer3", "pool", "fc"]


def test_published_names(network):
    names = set(network.state_dict())
    assert {"backbone.conv1.weight", "backbone.layer1.0.conv1.weight", "classifier.weight", "classifier.bias"} <= names


def test_output_is_float32_under_mixed_precision(network):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(IMAGES)
    assert output.logits.dtype == output.features.dtype == torch.float32


def test_features_are_what_the_classifier_saw(network):
    output = network(IMAGES)
    torch.testing.assert_close(network.classifier(output.features), output.logits)


@pytest.mark.parametrize("layer", LAYERS)
def test_blending_with_a_whole_share_changes_nothing(network, layer):
    assert torch.equal(network(IMAGES, Mix(layer, PARTNER, torch.ones(4))).logits, network(IMAGES).logits)


@pytest.mark.parametrize("layer", LAYERS)
def test_blending_with_no_share_gives_the_partners(network, layer):
    torch.testing.assert_close(network(IMAGES, Mix(layer, PARTNER, torch.zeros(4))).logits, network(IMAGES).logits[PARTNER])


def test_blending_at_the_end_is_linear(network):
    plain = network(IMAGES).logits
    expected = WEIGHT[:, None] * plain + (1 - WEIGHT[:, None]) * plain[PARTNER]
    for layer in ("fc", "pool"):   # the classifier is affine, so blending before it is the same
        torch.testing.assert_close(network(IMAGES, Mix(layer, PARTNER, WEIGHT)).logits, expected)


def test_blending_after_a_stage_by_hand(network):
    x = IMAGES
    for name, stage in network.backbone.stages():
        x = stage(x)
        if name == "layer2":
            share = WEIGHT.view(-1, 1, 1, 1)
            x = share * x + (1 - share) * x[PARTNER]
    expected = network.classifier(network.module(x).flatten(1))
    torch.testing.assert_close(network(IMAGES, Mix("layer2", PARTNER, WEIGHT)).logits, expected)


@pytest.mark.parametrize("stop", [False, True])
def test_a_frozen_backbone_trains_the_classifier_only(network, stop):
    network.freeze_backbone(batchnorm=stop)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network(IMAGES).logits.square().sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {"classifier.weight", "classifier.bias"} <= changed
    statistics = {name for name in changed if "running" in name}
    assert bool(statistics) != stop
    assert not {name for name in changed if name.startswith("backbone.") and name.endswith((".weight", ".bias"))}


def test_always_eval_survives_train(network):
    network.always_eval = True
    assert not any(module.training for module in network.train().modules())
    network.always_eval = False
    assert all(module.training for module in network.train().modules())
