"""Intervals against closed forms, and against the share of simulated validations in which they hold the truth."""
import numpy as np
import pytest

from lib.report.intervals import Interval, Z, mean_interval, recall_intervals

CASES = {   # true recalls and validation images of each class
    "one class": ([0.7], [40]),
    "few classes, one of them hopeless": ([0.95, 0.9, 0.02], [30, 20, 5]),
    "an own folder": (np.linspace(0.95, 0.3, 12), np.geomspace(60, 2, 12).astype(int)),
    "equal recalls": ([0.6] * 12, [8] * 12),
    "nearly all right": ([0.95] * 12, [10] * 12),
    "three images a class": (np.linspace(0.1, 0.9, 100), [3] * 100),
    "one image a class": ([0.5] * 100, [1] * 100),
}


def test_wilson_in_numbers():
    """8 of 10, from Newcombe's formula by hand; one image says little, and still something; none says nothing."""
    low, high = recall_intervals(np.array([8, 1, 0, 0]), np.array([10, 1, 1, 0])).T
    assert (low[0], high[0]) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert (low[1], high[1]) == pytest.approx((1 / (1 + Z ** 2), 1))
    assert (low[2], high[2]) == pytest.approx((0, Z ** 2 / (1 + Z ** 2)))
    assert np.isnan([low[3], high[3]]).all()


def test_bounds_of_wilson_are_those_that_the_score_test_just_does_not_reject():
    low, high = recall_intervals(np.array([30]), np.array([47]))[0]
    for bound in (low, high):
        assert abs(30 / 47 - bound) == pytest.approx(Z * np.sqrt(bound * (1 - bound) / 47))


def test_of_one_class_the_mean_has_the_interval_of_the_class():
    found = mean_interval(np.array([0, 31]), np.array([0, 40]))
    assert found == pytest.approx(recall_intervals(np.array([31]), np.array([40]))[0])


def test_mover_in_numbers():
    """Two classes of ten images, one all right and one all wrong."""
    low, high = recall_intervals(np.array([10, 0]), np.array([10, 10])).T
    found = mean_interval(np.array([10, 0]), np.array([10, 10]))   # without variance, so that MOVER alone has a width
    assert found == pytest.approx((0.5 - (1 - low[0]) / 2, 0.5 + high[1] / 2))


def test_many_classes_have_the_interval_of_a_normal_distribution():
    """Three images and recall 2/3 in each of 3,000 classes: unbiased variance of each 2/9 / 2."""
    low, high = mean_interval(np.full(3000, 2), np.full(3000, 3))
    half = Z * np.sqrt(2 / 9 / 3 / 3000)   # pooled, since no spread between classes is left to take out
    assert (low, high) == pytest.approx((2 / 3 - half, 2 / 3 + half), abs=2e-4)


@pytest.mark.parametrize(("recall", "images"), CASES.values(), ids=CASES)
def test_intervals_hold_the_truth_as_often_as_they_say(recall, images):
    """At least 93.5 % of 2,000 validations: discrete counts move the share about 95 %."""
    rng, truth = np.random.default_rng(0), np.mean(recall)
    found = [mean_interval(hits, np.asarray(images)) for hits in rng.binomial(images, recall, size=(2000, len(images)))]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.935
    assert all(0 <= low <= high <= 1 for low, high in found)


def test_intervals_shrink_with_the_root_of_the_number_of_images():
    widths = [np.diff(mean_interval(np.array([6, 9]) * k, np.array([10, 10]) * k))[0] for k in (10, 1000)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.03)


@pytest.mark.parametrize(("high", "too_wide"), [(0.55, False), (0.6, False), (0.61, True)])
def test_what_may_be_off_by_more_than_ten_points_is_not_compared(high, too_wide):
    assert Interval(0.4, high).too_wide == too_wide
