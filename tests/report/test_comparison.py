"""Differences between runs: closed forms, and how often their intervals hold."""
import csv
import io

import numpy as np
import pytest
from scipy import stats

from lib.report.comparison import (
    RESAMPLES,
    Entrant,
    Ground,
    compare,
    difference,
    holm,
    paired_t,
    resample,
    two_sided,
)
from lib.report.comparison_page import (
    classes_csv_of,
    csv_of,
    differences_figure,
    make_comparison,
    page_of,
    recall_figure,
    table,
    text_of,
)
from lib.report.metrics import ShotBounds
from lib.utils.errors import InputError
from lib.utils.text import width

COUNTS = np.array([60, 39, 26, 17, 11, 7, 11, 3, 4, 2, 2, 1])


def ground_of(images, train=None, names=None) -> Ground:
    labels = np.repeat(np.arange(len(images)), images)
    return Ground(labels, names or [f"class {number}" for number in range(len(images))],
                  np.array(images if train is None else train), ShotBounds(20, 5))


def entrant(name: str, ground: Ground, rate, seed: int = 0, seeds: int = 1) -> Entrant:
    rng = np.random.default_rng(seed)
    rates = np.broadcast_to(rate, len(ground.class_names))[ground.labels]
    return Entrant(name, list(range(seeds)), rng.random((seeds, len(ground.labels))) < rates)


def test_accuracies_are_weighted_means_of_recalls():
    ground = ground_of([4, 2, 0, 2], train=[30, 10, 7, 1])
    one = Entrant("a", [0], np.array([[1, 1, 1, 0, 1, 0, 0, 0]], dtype=bool))
    assert one.accuracy(ground, "balanced") == pytest.approx((0.75 + 0.5 + 0) / 3)
    assert one.accuracy(ground, "top1") == pytest.approx(4 / 8)
    assert [one.accuracy(ground, by)[0] for by in ("many", "medium", "few")] == [0.75, 0.5, 0.0]
    assert np.isnan(one.recall(ground)[0, 2])


def test_a_group_without_images_is_refused_with_what_there_is():
    with pytest.raises(InputError, match="--by few: no few-shot class has images here; choose one of balanced, top1, many"):
        ground_of([40, 30]).weights("few")


def test_a_run_equals_itself():
    ground = ground_of(COUNTS)
    one = entrant("a", ground, 0.7)
    found = difference(one, one._replace(name="b"), ground, "balanced")
    assert (found.value, found.over_images.low, found.over_images.high, found.p) == (0, 0, 0, 1)
    assert "cannot tell them apart" in found.verdict("b", "a")


def test_the_spread_of_one_large_class_is_the_binomial_one():
    """Of gains −1, 0, 1 in one class: variance (mean of squares − square of the mean) / (n − 1)."""
    gains = np.repeat([1.0, 0.0, -1.0], [60, 320, 20])
    value, draws = resample(gains, np.zeros(400, dtype=int), np.ones(1))
    assert value == pytest.approx(0.1)
    assert draws.mean() == pytest.approx(0.1, abs=0.002)
    assert draws.std() == pytest.approx(np.sqrt((0.2 - 0.01) / 399), rel=0.05)


@pytest.mark.parametrize("images", [COUNTS, np.full(20, 2), np.full(10, 10)], ids=["tail", "20×2", "10×10"])
def test_intervals_hold_about_as_often_as_they_say(images):
    """Small classes above all, where resampling n_c images of n_c holds in 45 to 85 of 100 cases."""
    rng, ground, held, runs = np.random.default_rng(1), ground_of(images), 0, 300
    rates = np.linspace(0.95, 0.5, len(images)), np.linspace(0.95, 0.35, len(images))
    for _ in range(runs):
        shared = rng.random(len(ground.labels))
        other = np.where(rng.random(len(shared)) < 0.6, shared, rng.random(len(shared)))
        gains = (shared < rates[0][ground.labels]) * 1.0 - (other < rates[1][ground.labels])
        low, high = np.quantile(resample(gains, ground.labels, ground.weights("balanced"))[1], [0.025, 0.975])
        held += low <= (rates[0] - rates[1]).mean() <= high
    assert held / runs > 0.90   # 0.95 ± 0.025 at two standard errors


def test_two_sided_p_is_one_without_a_difference_and_small_with_one():
    assert two_sided(np.zeros(100)) == 1
    assert two_sided(np.ones(RESAMPLES)) == pytest.approx(2 / (RESAMPLES + 1))


def test_seeds_are_paired_by_students_t():
    gains = np.array([0.03, 0.05, 0.01])
    interval, p = paired_t(gains)
    reference = stats.ttest_1samp(gains, 0)
    assert p == pytest.approx(reference.pvalue)
    assert tuple(interval) == pytest.approx(tuple(reference.confidence_interval()))
    assert paired_t(np.zeros(3)) == ((0.0, 0.0), 1.0)


def test_holm_corrects_as_in_the_paper():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_seeds_decide_where_there_are_some():
    """A gain that all seeds have is believed; one that a single seed has is not, however many images there are."""
    ground = ground_of([400] * 5)
    base = entrant("base", ground, 0.6, 0, 3)
    steady, lucky = entrant("steady", ground, 0.75, 1, 3), entrant("lucky", ground, 0.6, 2, 3)
    lucky.hits[0] = True
    found = dict(zip(("steady", "lucky"), compare(base, [steady, lucky], ground, "balanced")))
    assert found["steady"].believed
    assert found["steady"].verdict("steady", "base").startswith("steady is better than base by ")
    assert found["lucky"].over_images.low > 0
    assert "but not significantly over 3 seeds" in found["lucky"].verdict("lucky", "base")
    single = [one._replace(hits=one.hits[:1], seeds=[0]) for one in (base, steady)]
    assert difference(*single, ground, "top1").over_seeds is None


def test_few_images_are_said_to_be_few():
    ground = ground_of([3, 3, 3])
    found = difference(entrant("a", ground, 0.9), entrant("b", ground, 0.4, 1), ground, "balanced")
    assert found.verdict("b", "a") == "b and a: too few images to compare"


def test_the_order_of_the_images_does_not_matter():
    ground = ground_of(COUNTS)
    one, other = entrant("a", ground, 0.8), entrant("b", ground, 0.6, 1)
    order = np.random.default_rng(3).permutation(len(ground.labels))
    turned = [each._replace(hits=each.hits[:, order]) for each in (one, other)]
    same = ground._replace(labels=ground.labels[order])
    assert difference(one, other, ground, "balanced") == difference(*turned, same, "balanced")


NAMES = ["<b>&amp;", "シジュウカラ", "=1+1", "a\nb", "مرحبا", "$x$ ☂"]


@pytest.mark.parametrize("classes", [1, 6, 120])
@pytest.mark.parametrize("rows", [2, 6])
def test_text_tables_pictures_and_page_of_any_size(classes, rows):
    names = [NAMES[number % 6] + str(number) for number in range(classes)]
    images = [(number * 7) % 5 for number in range(classes)] if classes > 1 else [9]   # some classes have none
    ground = ground_of(images, train=[500 - 4 * number for number in range(classes)], names=names)
    entrants = [entrant(NAMES[number], ground, 0.5, number) for number in range(rows)]
    shown = make_comparison(entrants, ground, "balanced", ["A remark."])
    text = text_of(shown)
    assert len(shown.verdicts) == rows - 1
    assert all(verdict in text for verdict in shown.verdicts)
    assert len(list(csv.reader(io.StringIO(csv_of(shown))))) == rows + 1
    assert len(list(csv.reader(io.StringIO(classes_csv_of(shown))))) == classes + 1
    for figure in (differences_figure(shown), recall_figure(shown)):
        figure.canvas.draw()
    page = page_of(shown, {"differences": b"", "recall_by_class": b""}, NAMES[0])
    assert "<b>&" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_columns_are_aligned_whatever_the_script():
    lines = table([["run", "x"], ["シジュウ", "1"], ["ab", "22"]]).splitlines()
    assert len({width(line) for line in lines}) == 1
