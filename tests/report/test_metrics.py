"""Metrics by hand, and against scikit-learn."""
import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from lib.report.metrics import Predictions, class_table, confusion, describe, measure, summary


def random_case(size=700, classes=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, generator=generator)
    labels = torch.randint(classes - 1, (size,), generator=generator)   # the last class has no validation images
    return logits, labels, torch.randint(1, 300, (classes,), generator=generator)


def case(labels, predicted, counts, confidence=1.0):
    labels, predicted = torch.tensor(labels), torch.tensor(predicted)
    rank = (labels != predicted).long() * 4
    return measure(Predictions(labels, predicted, rank, torch.full((len(labels),), confidence), torch.zeros(len(labels))),
                   torch.tensor(counts))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k(k):
    logits, labels, counts = random_case()
    expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=range(12))
    assert measure(describe(logits, labels), counts).top[k] == pytest.approx(expected, abs=1e-12)


def test_no_more_tops_than_classes():
    logits, labels, counts = random_case(classes=3)
    assert set(measure(describe(logits, labels), counts).top) == {1, 2, 3}
    assert measure(describe(logits, labels), counts).top[3] == 1


def test_recall_precision_f1():
    logits, labels, counts = random_case()
    found, predicted = measure(describe(logits, labels), counts), logits.argmax(1)
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
    assert measure(describe(logits, labels), counts).nll == pytest.approx(
        torch.nn.functional.cross_entropy(logits.double(), labels).item(), rel=1e-6)


def test_among_equal_logits_the_first_class_wins_everywhere():
    described = describe(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert described.predicted.tolist() == [0, 0, 0]
    assert described.rank.tolist() == [0, 1, 3]
    logits, labels, _ = random_case()
    described = describe(logits.round(), labels)
    assert torch.equal(described.rank == 0, described.predicted == labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_logits_are_finite(dtype):
    described = describe(torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]], dtype=dtype), torch.tensor([1, 1]))
    assert described.nll.tolist() == [2000, 0]
    assert described.confidence.tolist() == [1, 1]


def test_what_is_not_a_number_is_not_right():
    """A network that has diverged knows nothing: no class is recognised, and the loss is no number of JSON's."""
    labels = torch.tensor([0, 1, 2, 1])
    found = measure(describe(torch.full((4, 3), math.nan), labels), torch.tensor([5, 5, 5]))
    assert (found.top[1], found.top[2], found.top[3]) == (0, 0, 0)
    assert found.recall.tolist() == [0, 0, 0]
    assert found.history_entry()["valid_loss"] is None
    json.dumps([found.to_dict(), found.history_entry()], allow_nan=False)
    logits = torch.tensor([[math.nan, 2, 1], [3, math.nan, 1]])
    assert describe(logits, torch.tensor([1, 1])).rank.tolist() == [1, 3]


@pytest.mark.parametrize(("count", "group"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (0, "few")])
def test_bounds_of_the_shot_groups(count, group):
    assert case([0], [0], [count]).shots == {group: 1.0}


def test_a_group_is_the_mean_over_its_classes_and_absent_without_any():
    """Class 0 has four images and recall ½, class 1 one image and recall 1."""
    found = case([0, 0, 0, 0, 1], [0, 0, 1, 1, 1], [500, 300])
    assert found.shots == {"many": 0.75}
    assert found.top1 == 0.6
    assert set(found.history_entry()) == {"valid_loss", "valid_accuracy", "balanced", "macro_f1", "many", "recall"}


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
    predictions = Predictions(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1]),
                              torch.tensor([0.6, 0.6, 0.9, 0.9]), torch.zeros(4))
    assert measure(predictions, torch.tensor([5, 5])).ece == pytest.approx(0.65)


def test_geometric_mean_is_zero_where_a_class_is_never_recognised():
    assert case([0, 1], [0, 0], [5, 5]).geometric_mean == 0


def test_dictionary_is_json_without_nan():
    logits, labels, counts = random_case()
    text = json.dumps(measure(describe(logits, labels), counts).to_dict(), allow_nan=False)
    assert json.loads(text)["recall"][11] is None


def test_summary_reads_as_promised():
    text = summary(case([0, 0, 1, 1], [0, 1, 1, 1], [500, 5]))
    assert text == "Top1: 75.00%  Top2: 75.00%  Balanced: 75.00%\nMany: 50.00% (1 of 2 classes)  Few: 100.00% (1 of 2 classes)"


def test_table_of_many_classes_is_cut():
    logits, labels, counts = random_case(classes=40)
    table = class_table(measure(describe(logits, labels), counts), [f"c{i}" for i in range(40)])
    assert "… 20 more in per_class.csv …" in table
    assert len(table.splitlines()) == 22


def test_confusion_matrix():
    logits, labels, counts = random_case()
    found = confusion(describe(logits, labels), counts)
    order = found.order
    expected = reference.confusion_matrix(labels, logits.argmax(1), labels=order)
    assert np.array_equal(found.counts, expected)
    assert (np.diff(counts.numpy()[order]) <= 0).all()


@pytest.mark.parametrize("cells", [1, 5, 7])
def test_shared_cells_are_sums_of_the_whole_matrix(cells):
    logits, labels, counts = random_case()
    predictions = describe(logits, labels)
    whole, shared = confusion(predictions, counts), confusion(predictions, counts, cells)
    expected = np.add.reduceat(np.add.reduceat(whole.counts, shared.edges[:-1], 0), shared.edges[:-1], 1)
    assert np.array_equal(shared.counts, expected)
    assert shared.counts.sum() == len(labels)


def test_batches_put_together_are_the_whole_at_32_bytes_an_image():
    logits, labels, _ = random_case()
    whole = describe(logits, labels)
    together = Predictions.empty(len(labels), torch.device("cpu"))
    for start in range(0, len(labels), 64):
        rows = slice(start, start + 64)
        together.put(rows, describe(logits[rows], labels[rows]))
    assert all(torch.equal(one, other) for one, other in zip(whole, together))
    assert sum(column.nbytes for column in together) == 32 * len(labels)
