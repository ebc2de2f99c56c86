"""Everything begins as in the published code: every convolution, BatchNorm and classifier, in distribution.

A backbone or classifier that is new must be entered here.
"""
import math

import pytest
import torch
from torch import Tensor, nn

from lib.backbone import BACKBONES
from lib.modules import CLASSIFIERS
from lib.modules.classifiers import Origin
from lib.net import Network

CRITICAL = 2.2   # of √n · D: a sample of the right distribution is beyond it once in 8,000 times (Kolmogorov)


def fan_in(weight: Tensor) -> int:
    return weight[0].numel()


def normal_in(weight: Tensor) -> torch.distributions.Distribution:
    """torch's kaiming_normal_."""
    return torch.distributions.Normal(0.0, math.sqrt(2 / fan_in(weight)))


def normal_out(weight: Tensor) -> torch.distributions.Distribution:
    """n = kernel height · width · output channels; normal_(0, sqrt(2 / n)), whatever the groups."""
    return torch.distributions.Normal(0.0, math.sqrt(2 / (weight.shape[2] * weight.shape[3] * weight.shape[0])))


def torch_default(weight: Tensor) -> torch.distributions.Distribution:
    """kaiming_uniform_(a = √5): bound √(6 / ((1 + a²) · fan_in))."""
    bound = math.sqrt(6 / ((1 + 5) * fan_in(weight)))
    return torch.distributions.Uniform(-bound, bound)


CONVOLUTIONS = {"res20_cifar": normal_in, "res32_cifar": normal_in, "res44_cifar": normal_in, "res56_cifar": normal_in,
                "res10": normal_out, "res18": normal_out, "res34": normal_out, "res50": torch_default, "resnext50": normal_out,
                "res101": normal_out, "res152": normal_out}   # the published code has no 18, 34, 101 and 152: torchvision's


def kolmogorov(values: Tensor, distribution: torch.distributions.Distribution) -> float:
    """√n times the largest distance between the distribution functions of a sample and of where it should be from."""
    values = values.detach().flatten().double().sort().values
    if isinstance(distribution, torch.distributions.Uniform):
        values = values.clamp(distribution.low, distribution.high)
    steps = torch.arange(len(values) + 1, dtype=torch.double) / len(values)
    expected = distribution.cdf(values)
    return math.sqrt(len(values)) * max((expected - steps[:-1]).max().item(), (steps[1:] - expected).max().item())


def check(values: Tensor, distribution: torch.distributions.Distribution, name: str) -> None:
    size = values.numel()
    deviation = distribution.stddev.item()
    assert kolmogorov(values, distribution) < CRITICAL, name
    assert abs(values.mean().item()) < 5 * deviation / math.sqrt(size), name
    assert values.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * size)), name
    if isinstance(distribution, torch.distributions.Uniform):
        assert distribution.high * (1 - 20 / size) < values.abs().max().item() <= distribution.high, name


def test_every_one_is_compared():
    assert set(CONVOLUTIONS) == set(BACKBONES) - {"timm"}   # whose models begin as timm has them
    assert set(CLASSIFIER_TESTS) == set(CLASSIFIERS)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in ("res101", "res152")))
                                  for name in CONVOLUTIONS])
def test_backbones(name):
    """All parameters and buffers, so that a new kind of layer does not go by unnoticed."""
    torch.manual_seed(0)
    for label, module in BACKBONES[name]().named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            check(module.weight, CONVOLUTIONS[name](module.weight), f"{name} {label}")
        elif isinstance(module, nn.BatchNorm2d):
            values = {key: value.unique().tolist() for key, value in module.state_dict().items()}
            assert values == {"weight": [1], "bias": [0], "running_mean": [0], "running_var": [1], "num_batches_tracked": [0]}
            assert (module.eps, module.momentum) == (1e-5, 0.1)
        else:
            assert not [*module.parameters(recurse=False), *module.buffers(recurse=False)], label


def check_linear(layer: nn.Module, num_features: int, num_classes: int) -> None:
    assert layer.weight.shape == (num_classes, num_features)
    check(layer.weight, torch_default(layer.weight), "weight")
    check(layer.bias, torch_default(layer.weight), "bias")


def check_lws(classifier: nn.Module, num_features: int, num_classes: int) -> None:
    assert torch.equal(classifier.scales, torch.ones(num_classes))
    check_linear(classifier.fc, num_features, num_classes)


def check_crt(classifier: nn.Module, num_features: int, num_classes: int) -> None:
    check_linear(classifier, num_features, num_classes)
    before = classifier.weight.detach().clone()
    assert classifier.from_first_stage({"weight": before, "bias": before[:, 0]}, Origin("file")) == {}
    check_linear(classifier, num_features, num_classes)
    assert torch.corrcoef(torch.stack([before.flatten(), classifier.weight.detach().flatten()]))[0, 1].abs() < 0.2


def check_cosine(classifier: nn.Module, num_features: int, num_classes: int) -> None:
    """The published line, word by word: renorm_ shortens every column over the classes to 1e-5."""
    weight = classifier.weight.detach()
    published = torch.empty(num_classes, num_features).uniform_(-1, 1).renorm_(2, 1, 1e-5).mul_(1e5)
    assert weight.shape == published.shape
    for tensor in (weight, published):
        torch.testing.assert_close(tensor.norm(dim=0), torch.ones(num_features), rtol=0.02, atol=0)
        assert tensor.square().sum(dim=1).mean().item() == pytest.approx(num_features / num_classes, rel=0.03)
    samples = torch.cat([weight.flatten(), published.flatten()]).sort().values.unique()
    one, two = (torch.searchsorted(tensor.flatten().sort().values, samples, right=True) / tensor.numel()
                for tensor in (weight, published))
    assert (one - two).abs().max().item() * math.sqrt(weight.numel() / 2) < CRITICAL
    assert weight.norm(dim=1).mean().item() == pytest.approx(math.sqrt(num_features / num_classes), rel=0.05)


def check_calibrated(classifier: nn.Module, num_features: int, num_classes: int) -> None:
    """A linear layer, and numbers with which it begins as its authors' code."""
    check_linear(classifier.fc, num_features, num_classes)
    assert (classifier.scales == 1).all()
    align = hasattr(classifier, "confidence")
    assert (classifier.shifts == (0 if align else 1)).all()
    assert not align or (classifier.confidence.weight == 0.1).all()


CLASSIFIER_TESTS = {"DisAlign": check_calibrated, "MARC": check_calibrated,
                    "FC": check_linear, "cRT": check_crt, "LWS": check_lws, "FCNorm": check_cosine, "CosineFC": check_cosine,
                    "MaxNorm": check_linear}


@pytest.mark.parametrize("name", CLASSIFIER_TESTS)
@pytest.mark.parametrize(("num_features", "num_classes"), [(64, 10), (64, 100), (512, 200), (64, 64)])
def test_classifiers(name, num_features, num_classes):
    torch.manual_seed(1)
    CLASSIFIER_TESTS[name](CLASSIFIERS[name](num_features, num_classes), num_features, num_classes)


@pytest.mark.parametrize("name", CLASSIFIER_TESTS)
def test_a_network_changes_none_of_it(name):
    """The parts, as they were drawn: a network draws nothing, and no part draws another one's weights again."""
    torch.manual_seed(2)
    backbone, classifier = BACKBONES["res20_cifar"](), CLASSIFIERS[name](64, 10)
    before = {key: value.clone() for part in (backbone, classifier) for key, value in part.state_dict().items()}
    network = Network(backbone, nn.Identity(), classifier)
    after = {key: value for part in (network.backbone, network.classifier) for key, value in part.state_dict().items()}
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_cosine_class_vectors_turn_as_slowly_as_their_length_says():
    """A cosine's gradient is as small as its vector is long: √(D / C) times smaller than from vectors of length 1."""
    torch.manual_seed(3)
    classifier, features = CLASSIFIERS["FCNorm"](64, 10), torch.randn(256, 64)
    targets = torch.randint(10, (256,))

    def gradient() -> Tensor:
        classifier.weight.grad = None
        nn.functional.cross_entropy(30 * classifier(features), targets).backward()
        return classifier.weight.grad.norm(dim=1)

    lengths, begun = classifier.weight.detach().norm(dim=1), gradient()
    with torch.no_grad():
        classifier.weight.div_(lengths[:, None])
    torch.testing.assert_close(gradient() / begun, lengths)
    assert lengths.mean().item() == pytest.approx(math.sqrt(6.4), rel=0.05)
