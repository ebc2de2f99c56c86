"""Limits of the options, where a loss becomes a simpler one."""
import pytest
import torch
import torch.nn.functional as F
from loss_cases import LABELS, LOGITS, LONG_TAILED, call, make
from torchvision.ops import sigmoid_focal_loss

from lib.loss import LOSSES
from lib.loss.label_aware_smooth import SHAPES
from lib.utils.errors import UnknownNameError

NEAR_ONE = 1 - 1e-9


def plain() -> torch.Tensor:
    return F.cross_entropy(LOGITS, LABELS)


@pytest.mark.parametrize(("name", "options"), [
    ("CostSensitiveCE", {"gamma": 0.0}), ("LDAMLoss", {"max_margin": 0.0, "scale": 1.0}), ("ClassBalanceCE", {"beta": 0.0}),
    ("GCL", {"noise": 0.0, "scale": 1.0}), ("CrossEntropyLabelSmooth", {"epsilon": 0.0}),
    ("CrossEntropyLabelAwareSmooth", {"smooth_head": 0.0, "smooth_tail": 0.0}),
    ("CDT", {"gamma": 0.0}), ("SEQL", {"gamma": 0.0, "lambda_": 1.0}), ("SEQL", {"gamma": 1.0, "lambda_": 0.0})], ids=str)
def test_cross_entropy_is_a_limit(name, options):
    torch.testing.assert_close(call(LOSSES[name](LONG_TAILED, **options)), plain())


@pytest.mark.parametrize(("name", "options", "other", "other_options"), [
    ("ClassBalanceCE", {"beta": NEAR_ONE}, "CostSensitiveCE", {}),
    ("ClassBalanceFocal", {"beta": 0.0}, "FocalLoss", {"gamma": 0.5}),
    *[("CrossEntropyLabelAwareSmooth", {"smooth_head": 0.2, "smooth_tail": 0.2, "shape": shape}, "CrossEntropyLabelSmooth",
       {"epsilon": 0.2}) for shape in SHAPES]], ids=str)
def test_another_loss_is_a_limit(name, options, other, other_options):
    one, two = call(LOSSES[name](LONG_TAILED, **options)), call(LOSSES[other](LONG_TAILED, **other_options))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)


def test_class_balanced_focal_near_beta_one_weights_by_one_over_n():
    """The weights sum to C, and focal loss keeps their size, so that of FocalLoss under DRW differs by a factor."""
    one, two = call(make("ClassBalanceFocal", beta=NEAR_ONE, gamma=2.0)), call(make("FocalLoss"))
    factor = 5 / (2 / LONG_TAILED.double()).sum()
    torch.testing.assert_close(one, factor * two, rtol=1e-5, atol=0)


def test_label_smoothing_is_cross_entropy_with_soft_targets():
    targets = 0.9 * F.one_hot(LABELS, 5).double() + 0.1 / 5
    torch.testing.assert_close(call(make("CrossEntropyLabelSmooth", active=False)), F.cross_entropy(LOGITS, targets))


def test_smoothing_is_weighted_by_the_label_and_nothing_else():
    """torch's own ``weight`` with ``label_smoothing`` weights the share of every class, which is something else."""
    weights = 2 / LONG_TAILED.double()
    both = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=0.1)
    losses = F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1, reduction="none")
    expected = (weights[LABELS] * losses).sum() / weights[LABELS].sum()
    assert not torch.isclose(both, expected, rtol=1e-3)
    torch.testing.assert_close(call(make("CrossEntropyLabelSmooth")), expected)


@pytest.mark.parametrize(("shape", "middle"), [
    ("concave", 0.1 + 0.3 * 0.5 ** 0.5), ("linear", 0.25), ("convex", 0.4 - 0.3 * 0.5 ** 0.5)])
def test_label_aware_smoothing_between_tail_and_head(shape, middle):
    """At the most frequent class the head's share, at the rarest the tail's, as at an empty one; between them the shape."""
    epsilon = LOSSES["CrossEntropyLabelAwareSmooth"](torch.tensor([101, 51, 1, 0]), shape=shape).epsilon
    torch.testing.assert_close(epsilon, torch.tensor([0.4, middle, 0.1, 0.1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_label_aware_smoothing_of_equal_counts_is_that_of_the_head(shape):
    loss = LOSSES["CrossEntropyLabelAwareSmooth"](torch.tensor([8, 8, 0, 8]), shape=shape)
    assert torch.equal(loss.epsilon, torch.full((4,), 0.4))


def test_an_unknown_shape_is_told_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'concave'"):
        LOSSES["CrossEntropyLabelAwareSmooth"](LONG_TAILED, shape="concav")


def test_binary_cross_entropy_of_a_softmax_of_two_is_cross_entropy():
    labels = LABELS % 2
    torch.testing.assert_close(make("ClassBalancedBCE", [9, 4], active=False)(LOGITS[:, :2], labels),
                               F.cross_entropy(LOGITS[:, :2], labels))


@pytest.mark.parametrize("shape", SHAPES)
def test_label_aware_smoothing_has_the_shares_of_its_ends_in_every_shape(shape):
    options = {"smooth_head": 0.3, "smooth_tail": 0.05, "shape": shape}
    epsilon = LOSSES["CrossEntropyLabelAwareSmooth"](torch.tensor([90, 7, 30]), **options).epsilon
    assert epsilon[:2].tolist() == pytest.approx([0.3, 0.05])
    assert 0.05 < epsilon[2] < 0.3


def test_focal_loss_without_focus_is_binary_cross_entropy():
    targets = F.one_hot(LABELS, 5).double()
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets, reduction="sum") / len(LOGITS)
    torch.testing.assert_close(call(make("FocalLoss", active=False, gamma=0.0)), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_that_of_torchvision(gamma):
    targets = F.one_hot(LABELS, 5).double()
    expected = sigmoid_focal_loss(LOGITS, targets, alpha=-1, gamma=gamma, reduction="sum") / len(LOGITS)
    torch.testing.assert_close(call(make("FocalLoss", active=False, gamma=gamma)), expected)


@pytest.mark.parametrize(("logits", "gamma"), [([[60.0, -60.0]], 0.5), ([[-60.0, 60.0]], 0.5), ([[200.0, -200.0]], 0.1)])
def test_focal_gradients_are_right_where_everything_is_certain(logits, gamma):
    """Certain and right: nothing to learn. Certain and wrong: −log p_t rises by one per unit and class."""
    logits = torch.tensor(logits, dtype=torch.double, requires_grad=True)
    make("FocalLoss", [5, 3], active=False, gamma=gamma)(logits, torch.tensor([0])).backward()
    slope = torch.tensor([[0.0, 0.0]] if logits[0, 0] > 0 else [[-1.0, 1.0]], dtype=torch.double)
    torch.testing.assert_close(logits.grad, slope)
