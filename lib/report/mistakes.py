"""The mistakes that a report shows as pictures, and their contact sheet."""
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lib.report.metrics import Metrics
from lib.report.pictures import is_small
from lib.report.predictions import Predictions
from lib.report.style import BLUE, GREY, RED, fit_text
from lib.utils.text import count

CONFIDENT = 24              # number of most confident mistakes that are shown
RARE_CLASSES, EACH = 12, 6  # number of rare classes that are shown, and of pictures for each
COLUMNS = 8                 # of the sheet; in the rows of rare classes, text takes the first two
CELL, CAPTION = 1.4, 0.4   # inches: side of a cell, height of the text below it
TITLE, GAP = 0.45, 0.1     # inches: height of a heading, and margin around a picture
LETTERS = 20                # per line in a cell


class Mistake(NamedTuple):
    """An image that is predicted as another class."""

    index: int  # type: ignore[assignment]  # tuple.index, which nobody calls
    label: int
    predicted: int
    confidence: float


class RareClass(NamedTuple):
    """The mistakes of a rare class."""

    label: int
    hits: int
    images: int                          # validation images
    mistakes: list[Mistake]              # its most confident mistakes
    taken_for: list[tuple[int, int]]     # other class, and how many images of this class are predicted as it
    taken_from: list[tuple[int, int]]    # other class, and how many of its images are predicted as this class


class Mistakes(NamedTuple):
    """The mistakes that are shown, and the totals."""

    confident: list[Mistake]
    total: int                # number of all mistakes
    images: int
    rare: list[RareClass]     # the rarest first
    rare_total: int           # number of all rare classes with mistakes
    rare_kind: str            # a text that says which classes are called rare

    def indices(self) -> list[int]:
        shown = [*self.confident, *(mistake for rare in self.rare for mistake in rare.mistakes)]
        return list(dict.fromkeys(mistake.index for mistake in shown))


def find_mistakes(predictions: Predictions, metrics: Metrics, left_out: Collection[int] = ()) -> Mistakes:
    """The most confident mistakes, and those in rare classes: the few-shot classes, else the rarest fifth.

    Args:
        left_out: images that are not shown, since they cannot be read and another was evaluated instead.
    """
    labels, predicted = predictions.labels.numpy(), predictions.predicted.numpy()
    confidence = np.nan_to_num(predictions.confidence.numpy(), nan=0.0)
    wrong = np.flatnonzero(labels != predicted)
    shown = wrong[~np.isin(wrong, list(left_out))] if left_out else wrong
    shown = shown[np.argsort(-confidence[shown], kind="stable")]

    def mistakes(indices: np.ndarray) -> list[Mistake]:
        return [Mistake(i, int(labels[i]), int(predicted[i]), float(confidence[i])) for i in indices.tolist()]

    rare, kind = rare_classes(metrics)
    with_mistakes = rare[np.isin(rare, labels[wrong])]
    found = []
    for label in with_mistakes[:RARE_CLASSES].tolist():
        own, others = wrong[labels[wrong] == label], wrong[predicted[wrong] == label]
        found.append(RareClass(label, int(metrics.hits[label]), int(metrics.valid_images[label]),
                               mistakes(shown[labels[shown] == label][:EACH]), tally(predicted[own]), tally(labels[others])))
    return Mistakes(mistakes(shown[:CONFIDENT]), len(wrong), len(labels), found, len(with_mistakes), kind)


def rare_classes(metrics: Metrics) -> tuple[np.ndarray, str]:
    """The rare classes that have validation images, the rarest first, and a text that describes them."""
    order = np.argsort(metrics.train_images, kind="stable")
    order = order[metrics.valid_images[order] > 0]
    few = metrics.train_images[order] < metrics.shot_bounds.few
    if few.any():
        return order[few], f"few-shot classes (fewer than {metrics.shot_bounds.few} training images)"
    return order[:max(1, len(order) // 5)], "classes with the fewest training images"


def tally(classes: np.ndarray) -> list[tuple[int, int]]:
    """Each class with its number of occurrences, the most frequent first."""
    values, numbers = np.unique(classes, return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return list(zip(values[order].tolist(), numbers[order].tolist()))


def mistakes_figure(mistakes: Mistakes, pictures: Mapping[int, Image.Image], class_names: Sequence[str],
                    train_images: np.ndarray) -> Figure:
    """A sheet of pictures: the most confident mistakes, then a row for each rare class."""
    rows = -(-len(mistakes.confident) // COLUMNS)
    height = 2 * TITLE + (rows + len(mistakes.rare)) * (CELL + CAPTION) + GAP
    figure = Figure(figsize=(COLUMNS * CELL, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, COLUMNS * CELL), ylim=(height, 0), aspect="equal")
    axes.set_axis_off()
    some = f"the {len(mistakes.confident)} most confident of " if len(mistakes.confident) < mistakes.total else ""
    heading(axes, 0, f"Mistakes: {some}{mistakes.total:,} in {count(mistakes.images, 'image')}")
    for place, mistake in enumerate(mistakes.confident):
        row, column = divmod(place, COLUMNS)
        name = fit_text(class_names[mistake.label], LETTERS)
        draw(axes, (column * CELL, TITLE + row * (CELL + CAPTION)), pictures.get(mistake.index),
             [(name, BLUE), (taken_for(mistake, class_names), RED)])
    top = TITLE + rows * (CELL + CAPTION)
    part = f"{len(mistakes.rare)} of {mistakes.rare_total:,} " if len(mistakes.rare) < mistakes.rare_total else ""
    heading(axes, top, f"Rare classes: {part}{mistakes.rare_kind} with mistakes" if mistakes.rare else
            f"Rare classes: no mistake in the {mistakes.rare_kind}")
    for row, rare in enumerate(mistakes.rare):
        y = top + TITLE + row * (CELL + CAPTION)
        axes.text(GAP, y + GAP, fit_text(class_names[rare.label], 2 * LETTERS - 6), va="top", fontsize=9, weight="bold")
        axes.text(GAP, y + GAP + 0.2, describe_rare(rare, class_names, train_images), va="top", fontsize=8, linespacing=1.4)
        for column, mistake in enumerate(rare.mistakes, start=COLUMNS - EACH):
            draw(axes, (column * CELL, y), pictures.get(mistake.index), [(taken_for(mistake, class_names), RED)])
    return figure


def taken_for(mistake: Mistake, class_names: Sequence[str]) -> str:
    return f"→ {fit_text(class_names[mistake.predicted], LETTERS - 8)}  {100 * mistake.confidence:.0f} %"


def heading(axes: Axes, y: float, text: str) -> None:
    axes.text(GAP, y + TITLE / 2, text, va="center", fontsize=11, weight="bold")


def describe_rare(rare: RareClass, class_names: Sequence[str], train_images: np.ndarray) -> str:
    lines = [count(int(train_images[rare.label]), "training image"),
             f"{rare.hits} of {count(rare.images, 'validation image')} correct", "predicted as:"]
    lines += [f"    {fit_text(class_names[other], 2 * LETTERS - 12)}  {number} ×" for other, number in rare.taken_for[:3]]
    left_out = len(rare.taken_for) - 3
    return "\n".join([*lines, f"    and {count(left_out, 'other class', 'other classes')}" * (left_out > 0)]).rstrip()


def draw(axes: Axes, place: tuple[float, float], picture: Image.Image | None, captions: Sequence[tuple[str, str]]) -> None:
    """Draws a whole picture, with its aspect ratio, on a grey square, and coloured lines of text below it.

    Args:
        place: left and top, in inches.
        captions: pairs of text and colour.
    """
    left, top = place
    side = CELL - 2 * GAP
    axes.fill_between([left + GAP, left + GAP + side], top + GAP, top + GAP + side, color="#EEEEEE", linewidth=0, zorder=0)
    if picture is None:
        axes.text(left + CELL / 2, top + CELL / 2, "cannot be read", ha="center", va="center", color=GREY, fontsize=7)
    else:
        width, height = (side * length / max(picture.size) for length in picture.size)
        x, y = left + (CELL - width) / 2, top + (CELL - height) / 2
        axes.imshow(np.asarray(picture), extent=(x, x + width, y + height, y), aspect="equal", zorder=1,
                    interpolation="nearest" if is_small(picture) else None)
    for line, (text, color) in enumerate(captions):
        axes.text(left + GAP, top + CELL - GAP + 0.06 + 0.19 * line, text, va="top", fontsize=7.5, color=color)
