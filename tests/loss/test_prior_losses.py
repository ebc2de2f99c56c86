"""Losses with the class prior in them: logit adjustment, vector scaling, LADE. Facts of spec/methods.md, sections 1 to 3."""
import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import LABELS, LOGITS, LONG_TAILED, call, make

from lib.loss import LOSSES
from lib.report.priors import adjustment

COUNTS = torch.tensor([50, 30, 15, 5])


@pytest.mark.parametrize("name", ["LogitAdjustedCE", "VSLoss"])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3.0])
def test_equal_counts_leave_cross_entropy(name, tau):
    equal = LOSSES[name](torch.full((5,), 17), tau=tau)
    torch.testing.assert_close(call(equal), F.cross_entropy(LOGITS, LABELS), rtol=1e-6, atol=0)


def test_logit_adjustment_with_tau_1_is_balanced_softmax():
    logits = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    values = [call(LOSSES[name](LONG_TAILED), z) for name, z in zip(("LogitAdjustedCE", "BalancedSoftmaxCE"), logits)]
    torch.testing.assert_close(*values, rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(value, z)[0] for value, z in zip(values, logits)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


def test_without_logits_the_loss_is_that_of_the_prior():
    for label in range(4):
        value = LOSSES["LogitAdjustedCE"](COUNTS)(torch.zeros(1, 4), torch.tensor([label]))
        assert value.item() == pytest.approx(-math.log(COUNTS[label] / 100))


def test_drw_weights_it_by_the_effective_number():
    """And leaves the prior where it is, from the first epoch on."""
    first, second = make("LogitAdjustedCE", active=False), make("LogitAdjustedCE", active=True)
    adjusted = LOGITS + (LONG_TAILED / LONG_TAILED.sum()).double().log()
    losses = F.cross_entropy(adjusted, LABELS, reduction="none")
    weights = (1 - 0.9999) / (1 - 0.9999 ** LONG_TAILED.double())
    torch.testing.assert_close(call(first), losses.mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(call(second), (weights[LABELS] * losses).sum() / weights[LABELS].sum(), rtol=1e-6, atol=0)


def test_vector_scaling_has_both_of_its_limits():
    torch.testing.assert_close(call(make("VSLoss", active=False, gamma=0.0, tau=1.5)),
                               call(make("LogitAdjustedCE", active=False, tau=1.5)))
    torch.testing.assert_close(call(make("VSLoss", active=False, gamma=0.4, tau=0.0)), call(make("CDT", gamma=0.4)))


def test_vector_scaling_does_not_depend_on_the_unit_of_the_counts():
    torch.testing.assert_close(call(LOSSES["VSLoss"](7 * LONG_TAILED)), call(LOSSES["VSLoss"](LONG_TAILED)), rtol=1e-6, atol=0)


def regulariser(logits: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, lambda_: float) -> torch.Tensor:
    """R, which the loss adds α times."""
    losses = [LOSSES["LADE"](counts, alpha=alpha, lambda_=lambda_)(logits, labels) for alpha in (1.0, 0.0)]
    return losses[0] - losses[1]


def test_lade_without_logits():
    """R = Σ p (s + λ s²) with s_c = −log(C p_c), and 0 for equal counts."""
    labels, p = torch.tensor([0, 0, 1, 3]), COUNTS.double() / 100
    s = -torch.log(4 * p)
    value = regulariser(torch.zeros(4, 4, dtype=torch.double), labels, COUNTS, 0.3)
    assert value.item() == pytest.approx((p * (s + 0.3 * s ** 2)).sum().item(), rel=1e-5)
    equal = regulariser(torch.zeros(4, 4, dtype=torch.double), labels, torch.full((4,), 9), 0.3)
    assert equal.item() == pytest.approx(0, abs=1e-6)


def test_lade_without_its_regulariser_is_balanced_softmax():
    torch.testing.assert_close(call(LOSSES["LADE"](LONG_TAILED, alpha=0.0)), call(make("BalancedSoftmaxCE")), rtol=1e-6, atol=0)


def test_a_class_that_is_not_in_the_batch_has_a_gradient_through_its_spread_only():
    """dR / dz_ic = p_c (1 + 2 λ s_c) softmax_i(z_c) where c has no example."""
    labels, logits = torch.tensor([0, 1, 1]), torch.randn(3, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    gradient, = torch.autograd.grad(regulariser(logits, labels, COUNTS, 0.2), logits)
    p = 0.05
    s = logits[:, 3].logsumexp(0) - math.log(p) - math.log(4) - math.log(3)
    torch.testing.assert_close(gradient[:, 3], p * (1 + 0.4 * s) * logits[:, 3].softmax(0), rtol=1e-5, atol=1e-9)
    own = 0.5 * (1 + 0.4 * (logits[:, 0].logsumexp(0) - math.log(0.5) - math.log(12))) * logits[:, 0].softmax(0)
    own = own - 0.5 * torch.tensor([1.0, 0, 0])   # its mean
    torch.testing.assert_close(gradient[:, 0], own, rtol=1e-5, atol=1e-9)


def test_post_hoc_adjustment_takes_out_what_the_loss_puts_in():
    """z + log q with q = p is, up to a constant, what a loss with tau 1 has seen; with a uniform q nothing moves."""
    p = COUNTS.double() / 100
    seen = LOGITS[:, :4] + p.log()
    torch.testing.assert_close((LOGITS[:, :4] + adjustment(COUNTS, 0.0, p)).softmax(1), seen.softmax(1), rtol=1e-6, atol=0)
    uniform = torch.full((4,), 0.25)
    torch.testing.assert_close((seen + adjustment(COUNTS, 1.0, uniform)).softmax(1), LOGITS[:, :4].softmax(1), rtol=1e-6, atol=0)


def test_a_class_without_training_images_is_left_alone_after_training():
    assert adjustment(torch.tensor([8, 0, 2]), 2.0).tolist() == pytest.approx([-2 * math.log(0.8), 0, -2 * math.log(0.2)])
