"""Which mistakes are shown, and how."""
import numpy as np
import pytest
import torch

from lib.report.metrics import USUAL, ShotBounds, measure
from lib.report.mistakes import CONFIDENT, EACH, RARE_CLASSES, find_mistakes, mistakes_figure
from lib.report.pictures import PIXELS, SIDE, data_uri, is_small, thumbnails
from lib.report.style import save_figure
from tests.report.validations import NAMES, Pictures, made, messy


def mistakes(labels, predicted, confidence, counts, left_out=(), bounds=USUAL):
    predictions = made(labels, predicted, torch.tensor(confidence))
    return find_mistakes(predictions, measure(predictions, torch.tensor(counts), bounds), left_out)


def test_the_most_confident_ones_come_first():
    found = mistakes([0, 0, 1, 1, 1], [0, 1, 0, 0, 1], [0.99, 0.5, 0.9, 0.7, 0.2], [200, 150])
    assert [(mistake.index, mistake.label, mistake.predicted) for mistake in found.confident] == [(2, 1, 0), (3, 1, 0), (1, 0, 1)]
    assert [mistake.confidence for mistake in found.confident] == pytest.approx([0.9, 0.7, 0.5])
    assert (found.total, found.images) == (3, 5)


def test_rare_classes_with_what_they_are_taken_for():
    """Class 2 is the rarest, class 1 few-shot too and without mistakes, class 3 without images."""
    found = mistakes([0, 0, 1, 2, 2, 2, 2], [2, 0, 1, 0, 1, 0, 2], [0.5, 0.9, 0.9, 0.6, 0.8, 0.7, 0.9], [200, 10, 5, 1])
    rare, = found.rare
    assert (rare.label, rare.hits, rare.images) == (2, 1, 4)
    assert [mistake.index for mistake in rare.mistakes] == [4, 5, 3]
    assert rare.taken_for == [(0, 2), (1, 1)]
    assert rare.taken_from == [(0, 1)]
    assert (found.rare_total, found.rare_kind) == (1, "few-shot classes (fewer than 20 training images)")


def test_without_few_shot_classes_the_rarest_are_shown():
    found = mistakes([0, 1, 2], [1, 0, 0], [0.5] * 3, [300, 200, 100])
    assert [rare.label for rare in found.rare] == [2]
    assert found.rare_kind == "classes with the fewest training images"
    bounds = ShotBounds(many=250, few=250)
    assert [rare.label for rare in mistakes([0, 1, 2], [1, 0, 0], [0.5] * 3, [300, 200, 100], bounds=bounds).rare] == [2, 1]


def test_there_are_never_too_many():
    classes = 50
    labels = torch.arange(classes).repeat_interleave(20)
    found = mistakes(labels, (labels + 1) % classes, [0.5] * len(labels), [5] * classes)
    assert (len(found.confident), len(found.rare), found.rare_total) == (CONFIDENT, RARE_CLASSES, classes)
    assert all(len(rare.mistakes) == EACH for rare in found.rare)
    assert len(set(found.indices())) == len(found.indices()) <= CONFIDENT + RARE_CLASSES * EACH


def test_images_in_whose_place_others_were_evaluated_are_counted_and_not_shown():
    found = mistakes([0, 0, 1], [1, 1, 0], [0.5, 0.9, 0.7], [5, 5], left_out=[1])
    assert [mistake.index for mistake in found.confident] == [2, 0]
    assert found.total == 3


def test_a_network_that_has_diverged_has_mistakes_too(tmp_path):
    found = mistakes([0, 1], [1, 0], [float("nan"), 0.5], [5, 5])
    assert [mistake.index for mistake in found.confident] == [1, 0]
    save_figure(mistakes_figure(found, {}, ["a", "b"], np.array([5, 5])), tmp_path / "x.png")


def test_pictures_keep_their_proportions():
    evaluated = messy(broken=[5])
    found = thumbnails(evaluated.images, [0, 1, 2, 5, 1])
    assert {index: picture.size for index, picture in found.items()} == {
        0: (12, 12), 1: (round(SIDE / 3), SIDE), 2: (SIDE, round(SIDE * 40 / 700))}
    assert found[1].getpixel((3, 3)) == (20, 20, 20)
    assert [is_small(found[index]) for index in (0, 1)] == [True, False]
    assert data_uri(found[0]).startswith("data:image/png;base64,")
    assert data_uri(found[1]).startswith("data:image/jpeg;base64,")
    assert PIXELS < SIDE


def test_pictures_that_cannot_be_read_are_named(monkeypatch):
    said = []
    monkeypatch.setattr("lib.report.pictures.log.warning", lambda text, *values: said.append(text % values))
    thumbnails(Pictures([0] * 6, ["a"], broken=[4, 5]), range(6))
    assert said == ["2 of 6 images for the report cannot be read: pictures[4]: is damaged"]


def test_the_sheet_says_what_is_what(tmp_path):
    evaluated = messy(broken=[5])
    found = find_mistakes(evaluated.predictions, evaluated.metrics)
    pictures = thumbnails(evaluated.images, found.indices())
    figure = mistakes_figure(found, pictures, NAMES, evaluated.metrics.train_images)
    axes, = figure.axes
    assert len(axes.images) == sum(mistake.index in pictures for mistake in
                                   [*found.confident, *(mistake for rare in found.rare for mistake in rare.mistakes)])
    texts = [text.get_text() for text in axes.texts]
    assert sum(text.startswith("→") for text in texts) == len(found.confident) + sum(len(rare.mistakes) for rare in found.rare)
    assert r"\$x_1\$" in texts
    assert any(text.startswith("xxxxxxxxxxxx") and text.endswith("…") for text in texts)
    save_figure(figure, tmp_path / "x.png")


def test_without_mistakes_the_sheet_says_so(tmp_path):
    found = mistakes([0, 1], [0, 1], [0.9, 0.9], [50, 5])
    figure = mistakes_figure(found, {}, ["a", "b"], np.array([50, 5]))
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "Mistakes: 0 in 2 images",
        "Rare classes: no mistake in the few-shot classes (fewer than 20 training images)"]
    save_figure(figure, tmp_path / "x.png")
