"""Whose label a mixed image gets."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.combiner import COMBINERS
from lib.loss import LOSSES
from lib.net import Output

COUNTS = torch.tensor([60, 59, 20, 77, 70])   # 60 : 20 is kappa exactly, 59 : 20 just below
LABELS, OTHERS = torch.tensor([0, 2, 1, 0]), torch.tensor([2, 0, 2, 0])
LOGITS = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def share_of_first(first: int, second: int, share: float, **options) -> float:
    combiner = COMBINERS["remix"](COUNTS, **options)
    return combiner.label_shares(torch.tensor([first]), torch.tensor([second]), torch.tensor(share)).item()


@pytest.mark.parametrize(("first", "second", "share", "expected"), [
    (0, 2, 0.4, 0.0),     # three times as frequent, with less than tau of the image: the rare class takes the label
    (0, 2, 0.0, 0.0),
    (0, 2, 0.5, 0.5),     # tau itself is not below tau
    (0, 2, 0.6, 0.6),
    (1, 2, 0.4, 0.4),     # below kappa
    (2, 0, 0.6, 1.0),     # the other way round
    (2, 0, 0.5, 0.5),
    (2, 0, 0.4, 0.4),
    (2, 1, 0.6, 0.6),
    (2, 2, 0.1, 0.1),     # equals
])
def test_the_rule_and_its_boundaries(first, second, share, expected):
    assert share_of_first(first, second, share) == pytest.approx(expected)


def test_a_ratio_that_is_no_binary_fraction_meets_kappa():
    """77 / 70 is 1.1, though 1.1 · 70 is more than 77 in floating point."""
    assert share_of_first(3, 4, 0.25, kappa=1.1) == 0
    assert share_of_first(4, 3, 0.75, kappa=1.1) == 1
    assert share_of_first(3, 4, 0.25, kappa=1.11) == 0.25


@given(first=st.integers(0, 4), second=st.integers(0, 4), share=st.integers(0, 64), tau=st.integers(0, 32),
       kappa=st.sampled_from([1.1, 3.0]))
@settings(max_examples=100, deadline=None)
def test_whose_example_comes_first_does_not_matter(first, second, share, tau, kappa):
    options = {"tau": tau / 64, "kappa": kappa}
    assert share_of_first(first, second, share / 64, **options) == 1 - share_of_first(second, first, 1 - share / 64, **options)


def step(loss: str, share: float, per_sample: bool, counts: torch.Tensor = COUNTS):
    combiner = COMBINERS["remix"](counts, per_sample=per_sample)
    return combiner.step(LOSSES[loss](counts), Output(LOGITS, LOGITS), LABELS, OTHERS, torch.tensor(share))


def test_each_example_has_its_own_share():
    """λ = 0.4 leaves the first example its partner's label only, and changes nothing in the others: 60 : 20, 20 : 60, 59 : 20."""
    shares = torch.tensor([0.0, 0.4, 0.4, 0.4])[:, None]
    result = step("CrossEntropy", 0.4, per_sample=True)
    torch.testing.assert_close(result.targets, shares * F.one_hot(LABELS, 5) + (1 - shares) * F.one_hot(OTHERS, 5))
    torch.testing.assert_close(result.loss, F.cross_entropy(LOGITS, result.targets))


def test_the_averaged_form_is_mixup_with_the_mean_share():
    share, result = 0.75 * 0.4, step("CrossEntropy", 0.4, per_sample=False)
    expected = share * F.cross_entropy(LOGITS, LABELS) + (1 - share) * F.cross_entropy(LOGITS, OTHERS)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.targets, share * F.one_hot(LABELS, 5) + (1 - share) * F.one_hot(OTHERS, 5))
    assert not torch.isclose(result.loss, step("CrossEntropy", 0.4, per_sample=True).loss)


@pytest.mark.parametrize("loss", sorted(name for name in LOSSES if name != "DiVEKLD" and not LOSSES[name].needs_experts))
def test_both_forms_agree_where_all_shares_are_equal(loss):
    balanced = torch.full((5,), 20)
    torch.testing.assert_close(step(loss, 0.4, True, balanced).loss, step(loss, 0.4, False, balanced).loss)


def test_re_weighting_keeps_its_divisor():
    """Σ w λ_y ℓ / Σ w: the class weights of both labels stay as in a batch that is not mixed."""
    weights = COUNTS.min() / COUNTS
    shares = torch.tensor([0.0, 0.4, 0.4, 0.4])
    parts = []
    for labels, share in ((LABELS, shares), (OTHERS, 1 - shares)):
        losses = F.cross_entropy(LOGITS, labels, reduction="none")
        parts.append((weights[labels] * share * losses).sum() / weights[labels].sum())
    torch.testing.assert_close(step("CostSensitiveCE", 0.4, per_sample=True).loss, sum(parts))
