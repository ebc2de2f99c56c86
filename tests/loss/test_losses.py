"""Losses against formulas written down independently in float64, their limits, and their gradients."""
import math

import pytest
import torch

from lib.loss import LOSSES
from lib.loss.base import effective_number_weights, rarity
from lib.utils.errors import InputError
from lib.utils.schedule import Deferred

COUNTS = {
    "long-tailed": [500, 120, 37, 9, 2], "equal": [40, 40, 40, 40, 40], "an empty class": [300, 0, 20, 5, 1],
    "one image each": [1, 1, 1, 1, 1],
}
NAMES = ["CrossEntropy", "CostSensitiveCE", "BalancedSoftmaxCE", "LDAMLoss"]


def example(size: int = 12, classes: int = 5, seed: int = 0, empty: int | None = None):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, generator=generator, dtype=torch.double) * 2
    labels = torch.randint(classes, (size,), generator=generator)
    return logits, torch.where(labels == empty, 0, labels) if empty is not None else labels


def softmax_nll(row: list[float], label: int) -> float:
    return -(row[label] - math.log(sum(math.exp(value) for value in row)))


def reference(name: str, logits, labels, counts: list[int], active: bool) -> float:
    """The mean loss in plain Python, from the formulas of the papers."""
    n_min = min(count for count in counts if count)
    weights = [1.0] * len(counts)
    if name in ("CrossEntropy", "CostSensitiveCE") and active:
        weights = [n_min / count if count else 0.0 for count in counts]
    if name == "LDAMLoss" and active:
        weights = [(1 - 0.9999) / (1 - 0.9999 ** count) if count else 0.0 for count in counts]
    total = divisor = 0.0
    for row, label in zip(logits.tolist(), labels.tolist()):
        if name == "BalancedSoftmaxCE" and active:
            row = [value + (math.log(count) if count else -math.inf) for value, count in zip(row, counts)]
        if name == "LDAMLoss":
            row[label] -= 0.5 * (n_min / counts[label]) ** 0.25
            row = [30 * value for value in row]
        total += weights[label] * softmax_nll(row, label)
        divisor += weights[label]
    return total / divisor


@pytest.mark.parametrize("active", [False, True], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("profile", COUNTS)
@pytest.mark.parametrize("name", NAMES)
def test_formula(name, profile, active):
    counts = COUNTS[profile]
    logits, labels = example(empty=1 if 0 in counts else None)
    if name == "LDAMLoss":
        logits = logits / 10   # cosines
    loss = LOSSES[name](torch.tensor(counts), Deferred(5))
    loss.on_epoch(6 if active else 5)
    expected = reference(name, logits, labels, counts, active)
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_drw_begins_after_its_start_epoch(name):
    counts = torch.tensor(COUNTS["long-tailed"])
    logits, labels = example()
    deferred, off, on = (LOSSES[name](counts, Deferred(start)) for start in (160, 10**6, 0))
    assert not torch.isclose(off(logits, labels), on(logits, labels))
    for epoch, same in ((1, off), (160, off), (161, on), (200, on)):
        deferred.on_epoch(epoch)
        assert torch.equal(deferred(logits, labels), same(logits, labels)), epoch


@pytest.mark.parametrize(("name", "rebalances"), [("CrossEntropy", False), ("LDAMLoss", False), ("CostSensitiveCE", True),
                                                  ("BalancedSoftmaxCE", True)])
def test_without_drw_a_loss_keeps_its_own_habit(name, rebalances):
    counts = torch.tensor(COUNTS["long-tailed"])
    logits, labels = example()
    same = LOSSES[name](counts, Deferred(0 if rebalances else 10**6))
    assert torch.equal(LOSSES[name](counts)(logits, labels), same(logits, labels))


@pytest.mark.parametrize("name", ["CrossEntropy", "CostSensitiveCE", "BalancedSoftmaxCE"])
def test_equal_counts_leave_cross_entropy(name):
    logits, labels = example()
    loss = LOSSES[name](torch.tensor(COUNTS["equal"]), Deferred(0))
    torch.testing.assert_close(loss(logits, labels), torch.nn.functional.cross_entropy(logits, labels))


def test_limits_of_the_options():
    counts = torch.tensor(COUNTS["long-tailed"])
    logits, labels = example()
    plain = LOSSES["CrossEntropy"](counts)(logits, labels)
    torch.testing.assert_close(LOSSES["CostSensitiveCE"](counts, gamma=0.0)(logits, labels), plain)
    torch.testing.assert_close(LOSSES["LDAMLoss"](counts, max_margin=0.0, scale=1.0)(logits, labels), plain)


def test_ldam_margin_costs_only_the_true_class():
    """One example: raising the margin by m is lowering its true logit by m."""
    counts = torch.tensor([16, 1])
    logits, label = torch.tensor([[0.3, 0.1]]), torch.tensor([0])
    with_margin = LOSSES["LDAMLoss"](counts, max_margin=0.4)(logits, label)      # 0.4 · (1/16) ** ¼ = 0.2
    without = LOSSES["LDAMLoss"](counts, max_margin=0.0)(logits - torch.tensor([[0.2, 0.0]]), label)
    torch.testing.assert_close(with_margin, without)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("active", [False, True])
def test_a_constant_sample_weight_is_a_factor(name, active):
    loss = LOSSES[name](torch.tensor(COUNTS["long-tailed"]), Deferred(5))
    loss.on_epoch(6 if active else 1)
    logits, labels = example()
    share = loss(logits, labels, sample_weight=torch.full((12,), 0.3, dtype=torch.double))
    torch.testing.assert_close(share, 0.3 * loss(logits, labels))


@pytest.mark.parametrize("name", NAMES)
def test_sample_weights_split_the_loss(name):
    """Weights s and 1 − s give parts that add up to the whole, whatever s is."""
    loss = LOSSES[name](torch.tensor(COUNTS["long-tailed"]), Deferred(0))
    logits, labels = example()
    weight = torch.rand(12, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    parts = loss(logits, labels, sample_weight=weight) + loss(logits, labels, sample_weight=1 - weight)
    torch.testing.assert_close(parts, loss(logits, labels))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", COUNTS)
def test_gradients(name, profile):
    loss = LOSSES[name](torch.tensor(COUNTS[profile]), Deferred(0))
    logits, labels = example(size=4, empty=1 if 0 in COUNTS[profile] else None)
    assert torch.autograd.gradcheck(lambda z: loss(z / 10, labels), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("profile", COUNTS)
@pytest.mark.parametrize("name", NAMES)
def test_finite_for_logits_of_a_thousand_in_float32(name, profile, dtype):
    loss = LOSSES[name](torch.tensor(COUNTS[profile]), Deferred(0))
    logits = torch.tensor([[1000.0, -1000, 0, 5, 1], [-1000, 1000, 3, 0, 0]], dtype=dtype, requires_grad=True)
    value = loss(logits, torch.tensor([4, 0]))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_empty_classes_alone_cost_nothing_and_break_nothing(name):
    loss = LOSSES[name](torch.tensor(COUNTS["an empty class"]), Deferred(0))
    logits = torch.zeros(2, 5, requires_grad=True)
    value = loss(logits, torch.tensor([1, 1]))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_class_constants_are_buffers_that_no_checkpoint_holds(name):
    loss = LOSSES[name](torch.tensor(COUNTS["long-tailed"]))
    assert any(True for _ in loss.buffers())
    assert loss.state_dict() == {}
    assert not list(loss.parameters())


def test_a_loss_that_cannot_be_deferred_says_so(monkeypatch):
    monkeypatch.setattr(LOSSES["CrossEntropy"], "deferrable", False)
    with pytest.raises(InputError, match=r"TRAIN\.TWO_STAGE\.DRW"):
        LOSSES["CrossEntropy"](torch.tensor([3, 1]), Deferred(1))


def test_weights_by_hand():
    counts = torch.tensor([100, 25, 0, 4])
    torch.testing.assert_close(rarity(counts, 0.5), torch.tensor([0.2, 0.4, 0.0, 1.0], dtype=torch.double))
    half = effective_number_weights(torch.tensor([1, 2, 0]), 0.5)   # effective numbers 1 and 1.5
    torch.testing.assert_close(half, 3 * torch.tensor([0.6, 0.4, 0.0], dtype=torch.double))
    near_one = effective_number_weights(torch.tensor([10, 5]), 1 - 1e-9)   # tends to 1 / n
    torch.testing.assert_close(near_one, torch.tensor([2 / 3, 4 / 3], dtype=torch.double), rtol=1e-5, atol=0)
