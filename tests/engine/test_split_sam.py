"""Sharpness-aware steps by class, and with a radius for each weight. Facts of spec/methods.md, section 9."""
import copy

import pytest
import torch
from test_update import COUNTS, batch, make, train
from torch import nn

from lib.combiner import Step
from lib.device.precision import Precision, TorchAmp
from lib.update import UPDATES, Piece, Weights

RARE = COUNTS < 20   # the last of three


def of(rule: str, **options):
    """A step whose rule knows the classes."""
    step = make(rule, **options)
    step.update.class_counts = COUNTS
    return step


def parameters(step) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in step.network.parameters()]


@pytest.mark.parametrize(("options", "other", "others"), [
    ({"lambda_": 1.0, "gamma": 0.0, "rho": 0.3}, "sam", {"rho": 0.3}), ({"lambda_": 0.0, "rho": 0.3}, "plain", {}),
    ({"lambda_": 0.7, "rho": 0.0}, "plain", {})])
def test_focal_sam_has_sam_and_the_plain_step_as_limits(options, other, others):
    focal, expected = of("focal_sam", dropout=0.0, bn="first", **options), make(other, dropout=0.0, **others)
    if other == "sam":
        expected.update.bn = "first"
    for one, two in zip(train(focal), train(expected)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    for one, two in zip(parameters(focal), parameters(expected)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rule", "options", "sharp", "factor"), [
    ("imb_sam", {"rho": 0.4}, RARE.double(), 2.0),
    ("focal_sam", {"rho": 0.4, "gamma": 2.0, "lambda_": 0.8}, 0.8 * (1 - COUNTS.double() / 75) ** 2, 1.0)])
def test_a_step_against_gradients_by_hand(rule, options, sharp, factor):
    """With mixup, dropout and BatchNorm: g_plain(w) + factor · g_sharp(w + ε), ‖ε‖ = ρ."""
    step = of(rule, combiner="mix_up", momentum=0.0, **options)
    twin, given = copy.deepcopy(step.network), batch()
    drawn, sharp = step.combiner.draw(batch(), 1), sharp.float()

    def gradient(weights: torch.Tensor) -> list[torch.Tensor]:
        def criterion(output, targets, sample_weight=None):
            own = weights[targets] if sample_weight is None else weights[targets] * sample_weight
            return step.criterion(output, targets, sample_weight=own)

        step.begin(given.stream.seed)
        loss = step.combiner.combine(twin, criterion, given.images, given.labels, *drawn).loss
        return torch.autograd.grad(loss, list(twin.parameters()))

    plain, first = gradient(1 - sharp), gradient(sharp)
    norm = torch.cat([g.flatten() for g in first]).norm()
    before = [parameter.detach().clone() for parameter in twin.parameters()]
    with torch.no_grad():
        for parameter, g in zip(twin.parameters(), first):
            parameter += 0.4 * g / norm
    second = gradient(factor * sharp)
    step(given)
    for own, start, a, b in zip(step.network.parameters(), before, plain, second):
        torch.testing.assert_close(own.detach(), start - 0.1 * (a + b), rtol=1e-4, atol=1e-6)


def test_a_batch_without_rare_classes_is_a_plain_step():
    imb, plain = of("imb_sam", rho=0.5, bn="first"), make()
    given = [batch(number)._replace(labels=batch(number).labels % 2) for number in (1, 2)]
    for one in given:
        imb(one)
        plain(one._replace(stream=type(one.stream)(one.stream.seed)))
    for one, other in zip(parameters(imb), parameters(plain)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["imb_sam", "focal_sam"])
def test_pieces_of_a_batch_add_up(rule):
    """Without BatchNorm and dropout, of a loss that is a plain mean."""
    whole, cut = (of(rule, dropout=0.0, pieces=pieces) for pieces in (1, 3))
    for step in (whole, cut):
        step.criterion.class_weights.fill_(1.0)
        step.network.norm = nn.Identity()
    for one, other in zip(train(whole), train(cut)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(parameters(whole), parameters(cut)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_a_step_reports_is_the_whole_loss():
    for rule in ("imb_sam", "focal_sam"):
        torch.testing.assert_close(of(rule)(batch()), make()(batch()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", ["asam", "imb_sam", "focal_sam"])
def test_overflow_in_any_pass_leaves_the_step_out(rule):
    step = of(rule)
    precision = TorchAmp(torch.device("cpu"))
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    precision.autocast = lambda: torch.enable_grad()
    precision.prepare(step.network, step.optimizer)
    step, before = step._replace(precision=precision), [parameter.clone() for parameter in parameters(step)]
    skipped = 0
    while step(batch(1))[3] == 1:
        skipped += 1
        assert all(torch.equal(own, start) for own, start in zip(parameters(step), before))
    assert skipped > 0
    assert not torch.equal(before[0], step.network.first.weight)


class Quadratic(nn.Module):
    """½ ‖weight‖² + ½ ‖other‖²."""

    def __init__(self, weight: float, other: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight], dtype=torch.double))
        self.other = nn.Parameter(torch.tensor([other], dtype=torch.double))

    def losses(self) -> list[Piece]:
        loss = lambda: (self.weight.square() + self.other.square()).sum() / 2  # noqa: E731
        return [Piece(1.0, lambda: Step(loss(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)))]


def asam(network: Quadratic, **options) -> None:
    weights = Weights(network, torch.optim.SGD(network.parameters(), 1.0), Precision())
    UPDATES["asam"](**options)(network.losses(), weights)


def test_the_radius_of_asam_is_in_units_of_the_weight():
    """One weight, η = 0: ε = ρ · w, so the gradient that is used is w (1 + ρ)."""
    network = Quadratic(3.0, 0.0)
    asam(network, rho=0.25, eta=0.0)
    assert network.weight.item() == pytest.approx(3 - 3 * 1.25)


def test_parameters_of_another_name_have_a_radius_of_their_own():
    """T = (|w| + η, 1): ε = ρ T² g / ‖T g‖."""
    network = Quadratic(3.0, -4.0)
    asam(network, rho=0.5, eta=1.0)
    norm = (12.0**2 + 4.0**2) ** 0.5   # T g = (4 · 3, 1 · −4)
    assert network.weight.item() == pytest.approx(3 - (3 + 0.5 * 16 * 3 / norm))
    assert network.other.item() == pytest.approx(-4 - (-4 + 0.5 * -4 / norm))
