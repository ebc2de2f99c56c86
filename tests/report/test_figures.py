"""Figures hold the data they were given."""
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lib.report.calibration import calibration_bins, calibration_error, judge_confidence
from lib.report.figures import class_counts_figure, training_curves
from lib.report.metrics import ShotBounds, measure
from lib.report.predictions import confusion
from lib.report.style import save_figure
from lib.report.validation_figures import confusion_figure, recall_figure, reliability_figure
from tests.report.validations import made


def validation(classes: int, per_class: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    wrong = torch.rand(len(labels), generator=generator) < 0.4
    predicted = torch.where(wrong, torch.randint(classes, labels.shape, generator=generator), labels)
    predictions = made(labels, predicted, 0.7, 1.0)
    counts = (1000 * 0.002 ** (torch.arange(classes) / max(classes - 1, 1))).long().clamp_min(1)
    return predictions, measure(predictions, counts), [f"class {c}" for c in range(classes)], counts


@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 8142])
def test_confusion_figure_shows_row_shares(classes, tmp_path):
    predictions, metrics, names, counts = validation(classes)
    matrix = confusion(predictions, counts)
    figure = confusion_figure(matrix, metrics, names)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, 100 * matrix.counts / matrix.counts.sum(1, keepdims=True))
    assert shown.shape[0] == min(classes, 100)
    assert f"{100 * metrics.top1:.2f}" in figure.axes[0].get_title()
    save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_few_classes_are_named_with_their_counts():
    predictions, metrics, names, counts = validation(10)
    axes = confusion_figure(confusion(predictions, counts), metrics, names).axes[0]
    assert axes.get_yticklabels()[0].get_text() == f"class 0 ({counts[0]:,})"
    assert len(axes.texts) >= 10


def test_names_are_shown_as_they_are(tmp_path):
    """Between dollar signs matplotlib would read a formula, and end the training at one that is none; no font has lone
    surrogates. A name of 255 characters leaves room for the picture."""
    predictions, metrics, _, counts = validation(5)
    names = ["a$_$", "US$", "caf\udce9", "two\nlines\x1b", "x" * 255]
    axes = confusion_figure(confusion(predictions, counts), metrics, names).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        r"a\$_\$", r"US\$", "caf\ufffd", r"two\nlines\x1b", "x" * 39 + "…"]
    for figure in (class_counts_figure(counts, names), recall_figure(metrics, names),
                   confusion_figure(confusion(predictions, counts), metrics, names)):
        save_figure(figure, tmp_path / "x.png")


@pytest.mark.parametrize("classes", [2, 10, 100, 8142])
def test_recall_and_counts_figures(classes):
    _, metrics, names, counts = validation(classes)
    figure = recall_figure(metrics, names)
    line = figure.axes[1].lines[0].get_ydata()
    assert np.array_equal(line, np.sort(counts.numpy())[::-1])
    legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert all(f"{name}-shot" in legend for name in metrics.shots)
    assert f"{counts.sum():,} images" in class_counts_figure(counts, names).axes[0].get_title()


HISTORY = [
    {"epoch": 1, "rate": 0.1, "train_loss": 2.0, "train_accuracy": 0.3},
    {"epoch": 2, "rate": 0.1, "train_loss": 1.5, "train_accuracy": 0.5, "valid_loss": 1.8, "valid_accuracy": 0.45,
     "many": 0.6, "few": 0.1},
    {"epoch": 3, "rate": 0.01, "train_loss": 1.2, "train_accuracy": 0.6, "valid_loss": 1.9, "valid_accuracy": 0.4,
     "many": 0.7, "few": 0.0},
]


def lines(axes) -> dict[str, list]:
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_training_curves_are_the_history():
    figure = training_curves(HISTORY, {"second stage": 3})
    loss, accuracy, rate = figure.axes
    assert lines(loss)["training"] == [[1, 2.0], [2, 1.5], [3, 1.2]]
    assert lines(accuracy)["validation"] == [[2, 45.0], [3, 40.0]]
    assert lines(accuracy)["few-shot"] == [[2, 10.0], [3, 0.0]]
    assert "medium-shot" not in lines(accuracy)
    assert lines(accuracy)["best: 45.00 % (selected on the validation set)"] == [[2, 45.0]]
    assert lines(rate)["learning rate"] == [[1, 0.1], [2, 0.1], [3, 0.01]]
    assert rate.get_yscale() == "log"
    assert any("second stage" in text.get_text() for text in loss.texts)


@pytest.mark.parametrize(("best_by", "label", "point"), [
    ("accuracy", "best: 45.00 %", [2, 45.0]), ("balanced", "best balanced accuracy: 35.00 %", [3, 35.0]),
    ("macro_f1", "best macro-F1: 25.00 %", [2, 25.0])])
def test_curves_mark_the_best_epoch_by_the_chosen_metric(best_by, label, point):
    history = [HISTORY[0], HISTORY[1] | {"balanced": 0.3, "macro_f1": 0.25}, HISTORY[2] | {"balanced": 0.35, "macro_f1": 0.2}]
    accuracy = training_curves(history, {}, best_by).axes[1]
    assert lines(accuracy)[f"{label} (selected on the validation set)"] == [point]
    assert lines(accuracy)["balanced"] == [[2, 30.0], [3, 35.0]]
    assert ("macro-F1" in lines(accuracy)) == (best_by == "macro_f1")


def test_curves_show_how_far_balanced_accuracy_is_known():
    """Epochs of an earlier version have no interval."""
    history = [HISTORY[0], HISTORY[1] | {"balanced": 0.3}, HISTORY[2] | {"balanced": 0.35, "balanced_interval": [0.3, 0.42]}]
    band, = training_curves(history, {}).axes[1].collections
    assert (band.get_datalim(band.axes.transData).y0, band.get_datalim(band.axes.transData).y1) == pytest.approx((30, 42))
    assert not training_curves(history[:2], {}).axes[1].collections


@pytest.mark.parametrize("history", [[], HISTORY[:1]])
def test_curves_before_there_is_much_to_draw(history, tmp_path):
    figure = training_curves(history, {})
    assert isinstance(figure, Figure)
    save_figure(figure, tmp_path / "x.png")


def test_many_classes_are_placed_by_number_and_parted_by_shot():
    """Whatever shares a cell, the axes count classes, and lines stand where the shot groups part."""
    predictions, metrics, names, counts = validation(1000)
    axes = confusion_figure(confusion(predictions, counts), metrics, names).axes[0]
    assert axes.images[0].get_extent() == [0.5, 1000.5, 1000.5, 0.5]
    many, medium = int((counts > 100).sum()), int(((counts >= 20) & (counts <= 100)).sum())
    assert [line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[-1]] == [
        many + 0.5, many + medium + 0.5]
    assert {text.get_text() for text in axes.texts} == {"many", "medium", "few"}
    assert axes.get_yticklabels()[0].get_text() == f"1\n({counts.max():,})"
    assert "10 classes per cell" in axes.get_xlabel()


def test_faint_shares_are_seen_where_there_are_no_numbers():
    predictions, metrics, names, counts = validation(100)
    norm = confusion_figure(confusion(predictions, counts), metrics, names).axes[0].images[0].norm
    assert norm(1) == pytest.approx(0.01 ** 0.4)
    assert (norm(0), norm(100)) == (0, 1)


@pytest.mark.parametrize(("classes", "per_class", "dots"), [
    (100, 50, "one class"), (8142, 3, "neighbouring classes of equal recall")])
def test_dots_of_recall_stand_for_every_class(classes, per_class, dots):
    _, metrics, names, _ = validation(classes, per_class)
    axes = recall_figure(metrics, names).axes[0]
    assert dots in axes.get_xlabel()
    points, areas = axes.collections[0].get_offsets(), axes.collections[0].get_sizes()
    weights = np.ones(len(points)) if len(areas) == 1 else areas
    assert np.average(points[:, 1], weights=weights) == pytest.approx(100 * metrics.recall.mean())
    assert len(points) == (classes if dots == "one class" else 50 * 4)


def with_gaps(classes: int, empty: list[int]):
    """A validation in which some classes have no images."""
    labels = torch.tensor([c for c in range(classes) for _ in range(4) if c not in empty])
    predictions = made(labels, torch.where(torch.arange(len(labels)) % 4 == 0, 0, labels), 0.8)
    counts = torch.arange(classes, 0, -1) * 30
    return predictions, measure(predictions, counts), [f"class {c}" for c in range(classes)], counts


def test_cells_have_counts_and_colours_shares():
    """Four images of each class, one of which is taken for class 0; class 2 has none."""
    predictions, metrics, names, counts = with_gaps(4, [2])
    axes = confusion_figure(confusion(predictions, counts), metrics, names).axes[0]
    cells = {(text.get_position()): text.get_text() for text in axes.texts}
    assert cells == {(1, 1): "4", (1, 2): "1", (2, 2): "3", (1, 4): "1", (4, 4): "3", (2.5, 3): "no images"}
    assert np.asarray(axes.images[0].get_array()[1]).tolist() == [25, 75, 0, 0]
    assert axes.images[0].get_array().mask[2].all()
    patch, = axes.patches
    assert (patch.get_hatch(), patch.get_xy(), patch.get_width(), patch.get_height()) == ("///", (0.5, 2.5), 4, 1)


def test_recall_has_intervals_and_its_number_of_images():
    _, metrics, names, _ = with_gaps(4, [2])
    figure = recall_figure(metrics, names)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["class 0 (4)", "class 1 (4)", "class 2 (0)", "class 3 (4)"]
    bars, hatched = (container for container in axes.containers if hasattr(container, "patches"))
    assert [bar.get_height() for bar in bars] == [100, 75, 75]
    assert [bar.get_hatch() for bar in hatched] == ["///"]
    assert [text.get_text() for text in axes.texts] == ["no images"]
    ends = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(ends, 100 * metrics.recall_intervals[[0, 1, 3]])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-1] == "no images for validation: 1 class"
    assert legend[0].startswith("many-shot: 100.0 % (95 %: 51.0 to 100.0; 4 images, 1 class)")


def test_many_classes_without_images_are_hatched_too():
    _, metrics, names, _ = with_gaps(100, [*range(30, 40), 70])
    axes = recall_figure(metrics, names).axes[0]
    hatched, = (collection for collection in axes.collections if collection.get_hatch())
    assert [(path.get_extents().x0, path.get_extents().x1) for path in hatched.get_paths()] == [(29.5, 39.5), (69.5, 70.5)]


def test_bounds_of_the_shot_groups_are_those_of_the_colours():
    figure = class_counts_figure(torch.tensor([9, 5, 2]), ["a", "b", "c"], ShotBounds(many=8, few=3))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "many-shot (more than 8 images): 1 of 3 classes", "medium-shot (3 to 8 images): 1 of 3 classes",
        "few-shot (fewer than 3 images): 1 of 3 classes"]


def test_reliability_in_numbers(tmp_path):
    """Four images at .9, three of them right; two at .3, none right."""
    confidence, correct = np.array([0.9] * 4 + [0.3] * 2, dtype=np.float32), np.array([True, True, True, False, False, False])
    bins = calibration_bins(confidence, correct)
    figure = reliability_figure(bins, calibration_error(confidence, correct))
    axes, numbers = figure.axes
    bars, = (container for container in axes.containers if hasattr(container, "patches"))
    assert [(round(bar.get_x(), 2), bar.get_height()) for bar in bars] == [(26.67, 0), (86.67, 75)]
    assert [text.get_text() for text in numbers.texts if text.get_text()] == ["2", "4"]
    assert axes.get_title() == "ECE 20.0 %: over-confident by 20.0 points on average"
    save_figure(figure, tmp_path / "x.png")


@pytest.mark.parametrize(("confidence", "words"), [
    ([0.75] * 4, "well calibrated on average"), ([0.6] * 4, "under-confident by 15.0 points on average"),
    ([np.nan] * 4, "all confidences are NaN")])
def test_confidence_in_words(confidence, words):
    assert judge_confidence(calibration_bins(np.array(confidence), np.array([True, True, True, False]))) == words
