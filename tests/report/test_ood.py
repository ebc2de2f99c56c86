"""Measures of how well foreign images are found, on cases whose answer is known."""
import numpy as np
import pytest
import torch

from lib.report.ood import SCORES, detect, detection_table, scores_figure


def sure(number: int, size: float) -> torch.Tensor:
    """Logits of images of which the network is as sure as ``size`` is large."""
    return size * torch.eye(4)[torch.arange(number) % 4]


def test_what_is_told_apart_without_a_mistake():
    for one in detect(sure(40, 20.0), sure(30, 1.0)):
        assert (one.auroc, one.aupr, one.fpr95) == (1, 1, 0)


def test_the_wrong_way_round():
    for one in detect(sure(40, 1.0), sure(40, 20.0)):
        assert (one.auroc, one.fpr95) == (0, 1)


def test_what_cannot_be_told_apart():
    alike = sure(1, 3.0)
    for one in detect(alike.expand(40, -1), alike.expand(10, -1)):
        assert one.auroc == 0.5
        assert one.aupr == pytest.approx(0.2)   # the share of the foreign ones
        assert one.fpr95 == 1


def test_against_counting_pairs():
    generator = torch.Generator().manual_seed(0)
    known, foreign = 2 * torch.randn(50, 5, generator=generator), torch.randn(40, 5, generator=generator)
    for one, score in zip(detect(known, foreign), SCORES.values()):
        low, high = (score(logits.double()).numpy() for logits in (known, foreign))
        assert one.auroc == pytest.approx((low[:, None] < high).mean())
        threshold = np.sort(high)[::-1][int(np.ceil(0.95 * len(high))) - 1]
        assert one.fpr95 == pytest.approx((low >= threshold).mean())


def test_scores():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    softmax, energy, largest = (score(logits) for score in SCORES.values())
    torch.testing.assert_close(softmax, torch.tensor([1 - 1 / (1 + np.exp(-2)), 0.5]).float())
    torch.testing.assert_close(energy, -torch.tensor([np.log(np.exp(2) + 1), np.log(2)]).float())
    assert largest.tolist() == [-2, 0]


def test_table_and_figure():
    known, foreign = sure(40, 20.0), sure(30, 1.0)
    results = detect(known, foreign)
    assert detection_table(results).count("100.00%") == 6
    assert len(scores_figure(known, foreign, results).axes) == 3


def test_confident_predictions_keep_their_order():
    """1 - p computed from p is 0 for all of these."""
    assert [one.auroc for one in detect(sure(40, 60.0), sure(30, 50.0))] == [1, 1, 1]
    score = SCORES["1 - max softmax"]
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    torch.testing.assert_close(score(logits), 1 - logits.softmax(dim=1).max(dim=1).values)
    torch.testing.assert_close(score(torch.zeros(2, 1, dtype=torch.double)), torch.zeros(2, dtype=torch.double))   # one class
