"""Networks of several experts: the published numbers of parameters, what is shared, what is evaluated, initial weights."""
import pytest
import torch

from lib.config import load_config
from lib.core import build
from lib.loss import LOSSES
from lib.net import Mix, Output
from lib.net.cam import class_activation_maps

PUBLISHED = [   # of the code of RIDE, SADE and BalPoE, with the cosine classifier; trainable parameters
    ("res32_cifar", 100, 3, 0.75, 783_856), ("res32_cifar", 100, 2, 0.75, 530_512), ("res32_cifar", 100, 4, 0.75, 1_037_200),
    ("res32_cifar", 10, 3, 0.75, 770_896), ("res32_cifar", 100, 3, 1.0, 1_362_064), ("res10", 1000, 3, 0.75, 9_401_792),
    ("res10", 1000, 3, 1.0, 15_626_048), ("res50", 1000, 3, 0.75, 43_677_248), ("res50", 1000, 3, 1.0, 73_778_240),
    ("resnext50", 1000, 3, 0.75, 42_889_024), ("resnext50", 1000, 3, 1.0, 72_258_880),
]


def network_of(backbone: str = "res20_cifar", num: int = 3, width: float = 1.0, classes: int = 4, **changes):
    cfg = load_config("configs/test/digits_lt.yaml").clone()
    cfg.defrost()
    size = 32 if "cifar" in backbone else 64
    values = {"BACKBONE.TYPE": backbone, "NETWORK.EXPERTS.NUM": num, "NETWORK.EXPERTS.WIDTH": width, "INPUT_SIZE": [size, size],
              "CLASSIFIER.TYPE": "CosineFC", **changes}
    for key, value in values.items():
        cfg.put(key, value)
    torch.manual_seed(0)
    return build.build_network(cfg, classes)


@pytest.mark.parametrize(("backbone", "classes", "num", "width", "expected"), PUBLISHED)
def test_published_numbers_of_parameters(backbone, classes, num, width, expected):
    with torch.device("meta"):
        network = network_of(backbone, num, width, classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_one_expert_is_the_network_as_ever():
    names = list(network_of(num=1).state_dict())
    assert not any("experts" in name or "members" in name or "heads" in name for name in names)
    assert "backbone.layer2.0.conv1.weight" in names


@pytest.mark.parametrize(("first", "shared"), [("auto", ("layer1",)), ("layer3", ("layer1", "layer2"))])
def test_what_is_shared(first, shared):
    network = network_of(**{"NETWORK.EXPERTS.FROM": first})
    names = {name.split(".")[1] for name in network.state_dict() if name.startswith("backbone.")}
    assert names == {"conv1", "bn1", *shared, "experts"}


@pytest.mark.parametrize("pooling", ["GAP", "Identity"])
@pytest.mark.parametrize("width", [1.0, 0.75])
def test_what_is_evaluated_is_the_mean(width, pooling):
    """And each expert's logits are those of its own stages and classifier, on the shared maps."""
    network = network_of(width=width, **{"MODULE.TYPE": pooling}).eval()
    images = torch.randn(2, 3, 32, 32)
    output = network(images)
    experts = output.heads["experts"]
    assert experts.shape == (2, 3, 4)
    torch.testing.assert_close(output.logits, experts.mean(dim=1))
    backbone = network.backbone
    shared = backbone.layer1(backbone.stem(images))
    features = []
    for number, expert in enumerate(backbone.experts):
        own = network.module(expert["layer3"](expert["layer2"](shared))).flatten(1)
        features.append(own)
        torch.testing.assert_close(experts[:, number], network.classifier.members[number](own))
    torch.testing.assert_close(output.features, torch.stack(features).mean(dim=0))


def test_the_order_of_experts_matters_to_the_loss_alone():
    network, images, labels = network_of().eval(), torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    loss, first = LOSSES["BalPoE"](torch.tensor([50, 20, 5, 1])), network(images)
    with torch.no_grad():
        network.backbone.experts = network.backbone.experts[1:].append(network.backbone.experts[0])
        network.classifier.members = network.classifier.members[1:].append(network.classifier.members[0])
    second = network(images)
    torch.testing.assert_close(first.logits, second.logits)
    assert not torch.isclose(loss(first, labels), loss(second, labels))


def test_initial_weights_are_those_of_a_single_network():
    """In distribution: deviation of each convolution √(2 / fan), and all experts differ."""
    network = network_of("res32_cifar")
    for expert in network.backbone.experts:
        for name, parameter in expert.named_parameters():
            if parameter.dim() == 4:
                assert parameter.std().item() == pytest.approx((2 / parameter[0].numel()) ** 0.5, rel=0.1), name
    first, second, _ = (expert["layer3"][0].conv1.weight for expert in network.backbone.experts)
    assert not torch.equal(first, second)
    for member in network.classifier.members:
        torch.testing.assert_close(member.weight.norm(dim=0), torch.ones(64))


def test_experts_mix_inside_and_have_maps():
    network = network_of().eval()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    plain = network(images)
    for layer in ("layer1", "layer2", "layer3", "pool", "fc"):
        whole = network(images, Mix(layer, torch.tensor([1, 0, 3, 2]), torch.ones(4)))
        torch.testing.assert_close(whole.logits, plain.logits)
        swapped = network(images, Mix(layer, torch.tensor([1, 0, 3, 2]), torch.zeros(4)))
        torch.testing.assert_close(swapped.logits, plain.logits[[1, 0, 3, 2]])
    maps = class_activation_maps(network, images, labels)
    assert maps.shape == (4, 8, 8)


@pytest.mark.parametrize("taus", [(0.0, 1.0, 2.0), (1.0,)])
def test_balpoe_of_one_expert_with_tau_1_is_balanced_softmax(taus):
    counts, logits, labels = torch.tensor([50, 20, 5]), torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    balanced = LOSSES["BalancedSoftmaxCE"](counts)(logits, labels)
    given = Output(logits, None, {"experts": logits[:, None].expand(-1, len(taus), -1)})
    value = LOSSES["BalPoE"](counts, taus=taus)(given, labels)
    if taus == (1.0,):
        torch.testing.assert_close(value, balanced)
    equal = LOSSES["BalPoE"](torch.full((3,), 7), taus=taus)(given, labels)
    torch.testing.assert_close(equal, LOSSES["CrossEntropy"](counts)(logits, labels))


def test_taus_of_other_numbers_of_experts_are_at_equal_distances():
    loss = LOSSES["BalPoE"](torch.tensor([3, 1]))
    taus = loss.shifts(5, torch.float64) / torch.tensor([0.75, 0.25]).double().log()
    torch.testing.assert_close(taus, torch.tensor([[0, 0.5, 1, 1.5, 2]] * 2).double().T, atol=1e-6, rtol=1e-6)
