"""Metrics by hand, and against scikit-learn."""
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as reference

from lib.report.metrics import USUAL, ShotBounds, measure
from lib.report.predictions import Predictions, confusion, predictions_of
from lib.report.tables import class_table, headline, summary
from tests.report.validations import made


def random_case(size=700, classes=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, generator=generator)
    labels = torch.randint(classes - 1, (size,), generator=generator)   # the last class has no validation images
    return logits, labels, torch.randint(1, 300, (classes,), generator=generator)


def case(labels, predicted, counts, confidence=1.0, bounds=USUAL):
    rank = 4 * (torch.tensor(labels) != torch.tensor(predicted))
    return measure(made(labels, predicted, confidence, rank=rank), torch.tensor(counts), bounds)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k(k):
    logits, labels, counts = random_case()
    expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=range(12))
    assert measure(predictions_of(logits, labels), counts).top[k] == pytest.approx(expected, abs=1e-12)


def test_no_more_tops_than_classes():
    logits, labels, counts = random_case(classes=3)
    assert set(measure(predictions_of(logits, labels), counts).top) == {1, 2, 3}
    assert measure(predictions_of(logits, labels), counts).top[3] == 1


def test_recall_precision_f1():
    logits, labels, counts = random_case()
    found, predicted = measure(predictions_of(logits, labels), counts), logits.argmax(1)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(11), zero_division=np.nan)
    np.testing.assert_allclose(found.recall[:11], recall)
    np.testing.assert_allclose(found.precision[:11], precision)
    np.testing.assert_allclose(found.f1[:11], f1)
    assert found.balanced_accuracy == pytest.approx(recall.mean())
    assert found.macro_f1 == pytest.approx(f1.mean())
    assert found.geometric_mean == pytest.approx(np.prod(recall) ** (1 / 11))
    assert found.worst_class == recall.argmin()
    assert math.isnan(found.recall[11])


def test_loss_is_cross_entropy():
    logits, labels, counts = random_case()
    assert measure(predictions_of(logits, labels), counts).nll == pytest.approx(
        torch.nn.functional.cross_entropy(logits.double(), labels).item(), rel=1e-6)


def test_among_equal_logits_the_first_class_wins_everywhere():
    described = predictions_of(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert described.predicted.tolist() == [0, 0, 0]
    assert described.rank.tolist() == [0, 1, 3]
    logits, labels, _ = random_case()
    described = predictions_of(logits.round(), labels)
    assert torch.equal(described.rank == 0, described.predicted == labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_logits_are_finite(dtype):
    described = predictions_of(torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]], dtype=dtype), torch.tensor([1, 1]))
    assert described.nll.tolist() == [2000, 0]
    assert described.confidence.tolist() == [1, 1]


def test_what_is_not_a_number_is_not_right():
    """A network that has diverged knows nothing: no class is recognised, and the loss is no number of JSON's."""
    labels = torch.tensor([0, 1, 2, 1])
    found = measure(predictions_of(torch.full((4, 3), math.nan), labels), torch.tensor([5, 5, 5]))
    assert (found.top[1], found.top[2], found.top[3]) == (0, 0, 0)
    assert found.recall.tolist() == [0, 0, 0]
    assert found.history_entry()["valid_loss"] is None
    json.dumps([found.to_dict(), found.history_entry()], allow_nan=False)
    logits = torch.tensor([[math.nan, 2, 1], [3, math.nan, 1]])
    assert predictions_of(logits, torch.tensor([1, 1])).rank.tolist() == [1, 3]


@pytest.mark.parametrize(("count", "group"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (0, "few")])
def test_bounds_of_the_shot_groups(count, group):
    assert case([0], [0], [count]).shots == {group: 1.0}


def test_a_group_is_the_mean_over_its_classes_and_absent_without_any():
    """Class 0 has four images and recall ½, class 1 one image and recall 1."""
    found = case([0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [500, 300])
    assert found.shots == {"many": 0.75}
    assert found.top1 == 0.6
    assert set(found.history_entry()) == {"valid_loss", "valid_accuracy", "balanced", "balanced_interval", "macro_f1", "many",
                                          "recall"}


def test_a_class_without_validation_images_counts_nowhere():
    found = case([0, 0], [0, 1], [500, 5])
    assert found.shots == {"many": 0.5}
    assert found.balanced_accuracy == 0.5


def test_calibration_error_in_closed_form():
    assert case([0] * 4, [0, 0, 0, 1], [10, 10], confidence=0.75).ece == pytest.approx(0, abs=1e-12)
    assert case([0] * 4, [1] * 4, [10, 10], confidence=0.9).ece == pytest.approx(0.9)
    assert case([0] * 4, [0] * 4, [10, 10], confidence=1.0).ece == pytest.approx(0)


def test_calibration_error_of_two_bins():
    """Two images at .6 (both right), two at .9 (both wrong): (2 · .4 + 2 · .9) / 4."""
    predictions = made([0, 0, 0, 0], [0, 0, 1, 1], torch.tensor([0.6, 0.6, 0.9, 0.9]))
    assert measure(predictions, torch.tensor([5, 5])).ece == pytest.approx(0.65)


def test_the_largest_gap_of_a_bin():
    predictions = made([0, 0, 0, 0], [0, 0, 1, 1], torch.tensor([0.6, 0.6, 0.9, 0.9]))
    assert measure(predictions, torch.tensor([5, 5])).mce == pytest.approx(0.9)
    assert case([0] * 4, [0, 0, 0, 1], [10, 10], confidence=0.75).mce == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("number", "errors"), [(5, 0), (5, 2), (7, 7)])
def test_area_of_a_perfect_ranking(number, errors):
    """The wrong ones are the least confident: Σ_{i = 1 … k} i / (n − k + i) / n."""
    right = [0] * (number - errors) + [1] * errors
    predictions = made([0] * number, right, torch.linspace(0.9, 0.6, number))
    expected = sum(i / (number - errors + i) for i in range(1, errors + 1)) / number
    assert measure(predictions, torch.tensor([5, 5])).aurc == pytest.approx(expected)


def test_area_of_equal_confidences_keeps_the_order_of_the_images():
    assert case([0] * 4, [0, 1, 0, 1], [10, 10], confidence=0.7).aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_harmonic_mean():
    """Of recalls ½ and 1 it is ⅔; a class that is never recognised has 10⁻⁵."""
    assert case([0, 0, 1], [0, 1, 1], [5, 5]).harmonic_mean == pytest.approx(2 / 3)
    assert case([0, 1], [0, 0], [5, 5]).harmonic_mean == pytest.approx(2 / (1 + 1e5))


def test_geometric_mean_is_zero_where_a_class_is_never_recognised():
    assert case([0, 1], [0, 0], [5, 5]).geometric_mean == 0


def test_dictionary_is_json_without_nan():
    logits, labels, counts = random_case()
    text = json.dumps(measure(predictions_of(logits, labels), counts).to_dict(), allow_nan=False)
    assert json.loads(text)["recall"][11] is None


def test_summary_reads_as_promised():
    text = summary(case([0, 0, 1, 1], [0, 1, 1, 1], [500, 5]))
    assert text.splitlines() == [
        "Top1: 75.00%  Top2: 75.00%  Balanced: 75.00%",
        "Many: 50.00% (1 of 2 classes)  Few: 100.00% (1 of 2 classes)",
        "Balanced: 75.0 % (95 %: 30.1 to 95.4; 4 images, 2 classes), too few images to compare",
        "Many-shot: 50.0 % (95 %: 9.5 to 90.5; 2 images, 1 class), too few images to compare",
        "Few-shot: 100.0 % (95 %: 34.2 to 100.0; 2 images, 1 class), too few images to compare"]


def test_headline_of_enough_images():
    """The digits: 360 images, ten classes."""
    labels = [c for c in range(10) for _ in range(36)]
    predicted = [0 if place % 9 == 8 else label for place, label in enumerate(labels)]   # four of each class, but class 0's
    found = headline(case(labels, predicted, [500] * 10))
    assert found == ["Balanced: 90.0 % (95 %: 85.6 to 92.7; 360 images, 10 classes)",
                     "Many-shot: 90.0 % (95 %: 85.6 to 92.7; 360 images, 10 classes)"]


def test_bounds_of_the_shot_groups_can_be_chosen():
    bounds = ShotBounds(many=10, few=5)
    found = case([0, 1, 2, 3], [0, 1, 2, 0], [11, 10, 5, 4], bounds=bounds)
    assert found.shots == {"many": 1, "medium": 1, "few": 0}
    assert found.shot_sizes == {"many": 1, "medium": 2, "few": 1}
    assert found.to_dict()["shot_bounds"] == {"many": 10, "few": 5}
    assert [bounds.words(name) for name in found.shots] == ["more than 10", "5 to 10", "fewer than 5"]


def test_dictionary_has_the_images_behind_each_number():
    """Class 2 has no images, so that nothing is said of its recall, and none of the means count it."""
    found = case([0] * 80 + [1] * 20, [0] * 72 + [1] * 8 + [1] * 15 + [0] * 5, [200, 30, 3])
    content = found.to_dict()
    assert content["recall_interval"][2] is None
    assert content["recall_interval"][0] == pytest.approx([0.814893, 0.948452], abs=1e-6)
    assert content["shot_intervals"]["many"] == pytest.approx(content["recall_interval"][0])
    low, high = content["balanced_accuracy_interval"]
    assert low < content["balanced_accuracy"] < high
    assert (content["valid_images"], content["train_images"]) == ([80, 20, 0], [200, 30, 3])
    assert content["shot_images"] == {"many": 80, "medium": 20}
    assert content["too_few_images"] == ["medium"]
    assert content["top1_interval"] == pytest.approx([0.790244, 0.922236], abs=1e-3)


@pytest.mark.parametrize("classes", [2, 5, 12])
def test_top_five_are_those_of_topk(classes):
    logits, _, _ = random_case(classes=12)
    described = predictions_of(logits[:, :classes], torch.zeros(len(logits), dtype=torch.long))
    values, places = logits[:, :classes].softmax(1).topk(min(5, classes))
    assert torch.equal(described.top[:, :5].long(), F.pad(places, (0, 5 - places.shape[1]), value=-1))
    torch.testing.assert_close(described.probabilities, F.pad(values, (0, 5 - values.shape[1])))
    assert torch.equal(described.top[:, 0].long(), described.predicted)


def test_equal_and_infinite_logits_come_by_number_and_none_twice():
    logits = torch.tensor([[0.0, 1, 1, 0, 0, 0], [-torch.inf, 3, -torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    assert predictions_of(logits, torch.zeros(2, dtype=torch.long)).top.tolist() == [[1, 2, 0, 3, 4], [1, 0, 2, 3, 4]]


def test_table_of_many_classes_is_cut():
    logits, labels, counts = random_case(classes=40)
    table = class_table(measure(predictions_of(logits, labels), counts), [f"c{i}" for i in range(40)])
    assert "… 20 more in per_class.csv …" in table
    assert len(table.splitlines()) == 22


def test_table_of_classes_in_full():
    found = case([0] * 4 + [1] * 2, [0, 0, 0, 1, 0, 0], [500, 30, 2])
    assert class_table(found, ["cat", "dog", "a fox"]).splitlines() == [
        "class  train images  valid images     recall    95 % interval  precision",
        "cat             500             4      75.0%   30.1 to  95.4%      60.0%",
        "dog              30             2       0.0%    0.0 to  65.8%       0.0%",
        "a fox             2             0  no images                           –"]


def test_confusion_matrix():
    logits, labels, counts = random_case()
    found = confusion(predictions_of(logits, labels), counts)
    order = found.order
    expected = reference.confusion_matrix(labels, logits.argmax(1), labels=order)
    assert np.array_equal(found.counts, expected)
    assert (np.diff(counts.numpy()[order]) <= 0).all()


@pytest.mark.parametrize("cells", [1, 5, 7])
def test_shared_cells_are_sums_of_the_whole_matrix(cells):
    logits, labels, counts = random_case()
    predictions = predictions_of(logits, labels)
    whole, shared = confusion(predictions, counts), confusion(predictions, counts, cells)
    expected = np.add.reduceat(np.add.reduceat(whole.counts, shared.edges[:-1], 0), shared.edges[:-1], 1)
    assert np.array_equal(shared.counts, expected)
    assert shared.counts.sum() == len(labels)


def test_batches_put_together_are_the_whole_at_72_bytes_an_image():
    logits, labels, _ = random_case()
    whole = predictions_of(logits, labels)
    together = Predictions.empty(len(labels), torch.device("cpu"))
    for start in range(0, len(labels), 64):
        rows = slice(start, start + 64)
        together.put(rows, predictions_of(logits[rows], labels[rows]))
    assert all(torch.equal(one, other) for one, other in zip(whole, together))
    assert sum(column.nbytes for column in together) == 72 * len(labels)
