"""Losses against formulas written down independently in float64."""
import pytest
import torch
from loss_cases import COUNTS, LABELS, LOGITS, NAMES, OTHERS, SEEN, TEACHER, call, labels_of, make
from loss_reference import REFERENCE, Given

from lib.loss import LOSSES
from lib.loss.base import effective_number_weights, rarity

OPTIONS = [
    ("CostSensitiveCE", {"gamma": 0.5}), ("ClassBalanceCE", {"beta": 0.9}), ("CrossEntropyLabelSmooth", {"epsilon": 0.3}),
    ("CrossEntropyLabelAwareSmooth", {"shape": "linear"}), ("CrossEntropyLabelAwareSmooth", {"shape": "convex"}),
    ("CrossEntropyLabelAwareSmooth", {"smooth_head": 0.05, "smooth_tail": 0.3}), ("FocalLoss", {"gamma": 0.5}),
    ("ClassBalanceFocal", {"beta": 0.9999, "gamma": 2.0}), ("LDAMLoss", {"max_margin": 0.1, "scale": 8.0}),
    ("GCL", {"scale": 4.0, "noise": 1.0, "margin": 0.2, "focal_gamma": 1.5}), ("GCL", {"scale": 8.0, "margin": 0.1}),
    ("CDT", {"gamma": 0.7}), ("SEQL", {"gamma": 0.5, "lambda_": 0.1}), ("SEQL", {"gamma": 0.5, "lambda_": 1.0}),
    ("InfluenceBalancedLoss", {"alpha": 3.0}), ("DiVEKLD", {"power_norm": True}),
    ("LogitAdjustedCE", {"tau": 2.0}), ("LogitAdjustedCE", {"tau": 0.0}), ("VSLoss", {"gamma": 0.05, "tau": 0.75}),
    ("LADE", {"alpha": 0.5, "lambda_": 0.3}), ("LADE", {"alpha": 0.0}), ("BalPoE", {"taus": (-1.0, 1.0, 3.0)}),
    ("GeneralizedReweightCE", {"rho": 0.3}), ("SADE", {"tau": 1.0}),
    ("RIDE", {"diversity": -0.45, "scale": 1.0}), ("RIDE", {"diversity": 0.0, "reweight_factor": 0.5}),
    ("ClassBalancedBCE", {"beta": 0.9}),
    ("DiVEKLD", {"power_norm": True, "power": 2.0, "temperature": 1.5, "alpha": 0.9, "factor": 3.0}),
]


def test_every_loss_has_a_reference():
    assert sorted(REFERENCE) == NAMES


@pytest.mark.parametrize("profile", COUNTS)
@pytest.mark.parametrize(("name", "options"), [(name, {}) for name in NAMES] + OPTIONS, ids=str)
def test_formula(name, options, profile):
    counts = COUNTS[profile]
    logits = LOGITS / 10 if name in ("LDAMLoss", "GCL") else LOGITS   # cosines
    labels = labels_of(counts)
    experts = torch.stack([logits, *OTHERS], dim=1)
    given = Given(logits.tolist(), labels.tolist(), SEEN.tolist(), TEACHER.tolist(), experts.tolist())
    for active in (False, True):
        value = call(make(name, counts, active, **options), logits, labels)
        expected = REFERENCE[name](given, counts, active, **options)
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-12), f"re-balancing: {active}"


def test_ldam_margin_costs_only_the_true_class():
    """One example: raising the margin by m is lowering its true logit by m."""
    counts = torch.tensor([16, 1])
    logits, label = torch.tensor([[0.3, 0.1]]), torch.tensor([0])
    with_margin = LOSSES["LDAMLoss"](counts, max_margin=0.4)(logits, label)      # 0.4 · (1/16) ** ¼ = 0.2
    without = LOSSES["LDAMLoss"](counts, max_margin=0.0)(logits - torch.tensor([[0.2, 0.0]]), label)
    torch.testing.assert_close(with_margin, without)


def test_cdt_divides_each_class_by_its_own_temperature():
    logits, label = torch.tensor([[0.3, 0.8]]), torch.tensor([1])
    halved = make("CrossEntropy", [16, 1], active=False)(torch.tensor([[0.3, 0.4]]), label)
    torch.testing.assert_close(make("CDT", [16, 1], gamma=0.25)(logits, label), halved)   # 16 ** ¼ = 2


def test_weights_by_hand():
    counts = torch.tensor([100, 25, 0, 4])
    torch.testing.assert_close(rarity(counts, 0.5), torch.tensor([0.2, 0.4, 0.0, 1.0], dtype=torch.double))
    half = effective_number_weights(torch.tensor([1, 2, 0]), 0.5)   # effective numbers 1 and 1.5
    torch.testing.assert_close(half, 3 * torch.tensor([0.6, 0.4, 0.0], dtype=torch.double))
    near_one = effective_number_weights(torch.tensor([10, 5]), 1 - 1e-9)   # tends to 1 / n
    torch.testing.assert_close(near_one, torch.tensor([2 / 3, 4 / 3], dtype=torch.double), rtol=1e-5, atol=0)


def test_a_batch_is_a_mean_over_examples_where_nothing_normalises():
    """Two halves of a batch average to the whole, without re-balancing and for what divides by the size of the batch."""
    for name in ("FocalLoss", "ClassBalanceFocal", "BalancedSoftmaxCE", "CDT"):
        loss = make(name)
        halves = [call(loss, LOGITS[part], LABELS[part]) for part in (slice(6), slice(6, 12))]
        torch.testing.assert_close(call(loss), sum(halves) / 2)
