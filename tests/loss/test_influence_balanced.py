"""The factor of influence-balanced loss, and the gradient through it."""
import pytest
import torch
from loss_cases import LABELS, LOGITS, SEEN, make

from lib.utils.output import Output


def test_one_example_by_hand():
    """Even odds: CE = log 2, ‖p − y‖₁ = 1; features of length 4 in the 1-norm; weights 2 · (1/4, 3/4) of counts 3 and 1."""
    loss = make("InfluenceBalancedLoss", [3, 1], alpha=10.0)
    features = torch.tensor([[1.0, -3.0]], dtype=torch.double)
    value = loss(Output(torch.zeros(1, 2, dtype=torch.double), features), torch.tensor([1]))
    assert value.item() == pytest.approx(1.5 * 10 * 0.6931471805599453 / 4.001)


def test_gradient_flows_through_the_factor():
    loss = make("InfluenceBalancedLoss")
    inputs = (LOGITS[:4].clone().requires_grad_(), SEEN[:4].clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda z, h: loss(Output(z, h), LABELS[:4]), inputs)


def test_gradient_of_the_features_in_closed_form():
    """dL/dh = −L · ‖p − y‖₁ · sign(h) / (‖p − y‖₁ ‖h‖₁ + .001)."""
    loss = make("InfluenceBalancedLoss", [4, 4, 4, 4, 4])
    logits, labels, features = LOGITS[:1], LABELS[:1], SEEN[:1].clone().requires_grad_()
    value = loss(Output(logits, features), labels)
    value.backward()
    distance = 2 * (1 - logits.softmax(1)[0, labels[0]])
    expected = -value * distance * features.sign() / (distance * features.abs().sum() + 1e-3)
    torch.testing.assert_close(features.grad, expected.detach())


@pytest.mark.parametrize("margin", [50.0, 1000.0])
def test_a_certain_example_costs_nothing_and_pulls_nowhere(margin):
    """p_y → 1: CE ≈ 1 − p_y vanishes as the influence does, and .001 stays below it."""
    logits = torch.tensor([[margin, 0.0]], requires_grad=True)
    value = make("InfluenceBalancedLoss", [4, 4])(Output(logits, torch.ones(1, 3)), torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_features_of_zero_leave_cross_entropy_times_alpha_over_epsilon():
    loss = make("InfluenceBalancedLoss", [4, 4, 4, 4, 4])
    plain = make("CrossEntropy", active=False)(LOGITS, LABELS)
    torch.testing.assert_close(loss(Output(LOGITS, torch.zeros(12, 3)), LABELS), 1e6 * plain)


def test_features_are_asked_for_when_they_are_needed():
    make("InfluenceBalancedLoss", active=False)(LOGITS, LABELS)
    with pytest.raises(ValueError, match="needs the features"):
        make("InfluenceBalancedLoss")(LOGITS, LABELS)


def test_the_norm_of_features_is_taken_in_float32():
    """2048 features of 64 have the 1-norm 131072, which float16 cannot hold."""
    loss, features = make("InfluenceBalancedLoss"), torch.full((12, 2048), 64.0)
    half, single = Output(LOGITS.half(), features.half()), Output(LOGITS.float(), features)
    torch.testing.assert_close(loss(half, LABELS), loss(single, LABELS))
