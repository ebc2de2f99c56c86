"""Figures of one validation. Each function returns a matplotlib Figure and changes no global state."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from lib.report.calibration import Bins, judge_confidence
from lib.report.intervals import mean_interval, recall_intervals
from lib.report.metrics import Metrics, ShotBounds
from lib.report.predictions import Confusion
from lib.report.style import BLUE, FULL, GREY, NAMED_CLASSES, RED, SHOT_COLORS, plain_text, room_for
from lib.report.tables import behind
from lib.utils.text import count

CELL_NUMBERS = 20      # largest number of rows for which numbers fit into the cells
FAINT, FAINT_TICKS = 0.4, (0, 1, 5, 20, 50, 100)   # colour ∝ share ** 0.4, so that 1 % is visible in cells without numbers
NO_IMAGES = "no images"
HATCHED: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": "#AAAAAA", "hatch": "///", "linewidth": 0}
ON_WHITE = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
BLOCKS = 50            # number of blocks of neighbouring classes, if there are too many classes to show each


def confusion_figure(matrix: Confusion, metrics: Metrics, class_names: Sequence[str]) -> Figure:
    """The confusion matrix: images of each true class (row) that are predicted as each class (column), frequent classes first.
    The colour is the share of the row; the row of a class without images is hatched."""
    rows, classes = len(matrix.counts), len(matrix.order)
    side = min(max(5.0, 0.42 * rows + 2.5), 10.0) + room_for(class_names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * matrix.counts, totals, out=np.full(matrix.counts.shape, np.nan), where=totals > 0)
    numbered = rows <= CELL_NUMBERS
    picture = axes.imshow(shares, cmap="Blues", norm=Normalize(0, 100) if numbered else PowerNorm(FAINT, 0, 100),
                          extent=(0.5, classes + 0.5, classes + 0.5, 0.5))   # axes count classes, not cells
    ticks = None if numbered else FAINT_TICKS
    label = "number: images, colour: % of the true class" if numbered else "% of the true class"
    figure.colorbar(picture, ax=axes, label=label, shrink=0.8, ticks=ticks, format="%g")
    axes.set_title(f"Top-1 {100 * metrics.top1:.2f} %, balanced {100 * metrics.balanced_accuracy:.2f} %",
                   pad=6 if rows <= NAMED_CLASSES else 18)
    counts = metrics.train_images[matrix.order]
    if classes <= NAMED_CLASSES and rows == classes:
        names = [plain_text(class_names[number]) for number in matrix.order]
        axes.set_xticks(range(1, classes + 1), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(1, classes + 1), [f"{name} ({count:,})" for name, count in zip(names, counts)])
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class (training images)")
    else:
        places = [max(1, int(place)) for place in MaxNLocator(6, integer=True).tick_values(1, classes) if place <= classes]
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.set_yticks(places, [f"{place:,}\n({counts[place - 1]:,})" for place in places])
        shared = f"; {classes / rows:.0f} classes per cell, so the diagonal includes mistakes within a cell"
        axes.set_xlabel("predicted class, from frequent to rare" + shared * (rows < classes))
        axes.set_ylabel("true class, from frequent to rare (training images)")
        mark_shots(axes, metrics.shot_bounds, counts)
    if numbered:
        write_cells(axes, matrix.counts, shares)
    hatch_empty(axes, totals[:, 0], classes / rows)
    return figure


def hatch_empty(axes: Axes, totals: np.ndarray, height: float) -> None:
    """Hatches the rows without images; a row is ``height`` classes high."""
    for row in np.flatnonzero(totals == 0).tolist():
        axes.add_patch(Rectangle((0.5, 0.5 + row * height), len(totals) * height, height, **HATCHED))
        if len(totals) <= CELL_NUMBERS:
            axes.text(0.5 + len(totals) / 2, row + 1, NO_IMAGES, ha="center", va="center", fontsize=8, bbox=ON_WHITE)


def mark_shots(axes: Axes, bounds: ShotBounds, counts: np.ndarray) -> None:
    """Draws lines between the shot groups of a confusion matrix, and their names above it; ``counts`` must be descending."""
    groups = np.array([bounds.group(count) for count in counts])
    for name, color in SHOT_COLORS.items():
        members = np.flatnonzero(groups == name)
        if not len(members):
            continue
        axes.annotate(name, ((members[0] + members[-1]) / 2 + 1, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                      textcoords="offset points", ha="center", color=color)
        if members[0] > 0:
            axes.axvline(members[0] + 0.5, color=GREY, linewidth=0.8, linestyle="--")
            axes.axhline(members[0] + 0.5, color=GREY, linewidth=0.8, linestyle="--")


def write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), number in np.ndenumerate(counts):
        if number > 0:
            color, size = "white" if shares[row, column] > 55 else "black", 8 if number < 1000 else 6
            axes.text(column + 1, row + 1, f"{number:,}", ha="center", va="center", fontsize=size, color=color)


def recall_figure(metrics: Metrics, class_names: Sequence[str]) -> Figure:
    """Recall of each class with its 95 % interval, from frequent to rare, and the number of training images."""
    order = np.argsort(-metrics.train_images, kind="stable")
    figure = Figure(figsize=(9, 4.8 + room_for(class_names)), layout="constrained")
    axes = figure.add_subplot()
    counts = metrics.train_images[order]
    colors = [SHOT_COLORS[metrics.shot_bounds.group(count)] for count in counts]
    if len(order) <= NAMED_CLASSES:
        draw_bars(axes, metrics, order, colors)
        names = [f"{plain_text(class_names[number])} ({metrics.valid_images[number]:,})" for number in order]
        axes.set_xticks(range(len(order)), names, rotation=90)
        axes.set_xlabel("class (validation images), from frequent to rare")
        axes.set_ylabel("recall (%) with 95 % interval")
    else:
        what = scatter_recall(axes, 100 * metrics.recall[order], colors)
        draw_means(axes, metrics, order)
        axes.set_xlabel(f"classes, from frequent to rare ({what}; line: mean of neighbouring classes, with 95 % interval)")
        axes.set_ylabel("recall (%)")
    axes.set_ylim(100 - FULL, FULL)
    sizes = axes.twinx()
    sizes.plot(range(len(order)), np.maximum(counts, 0.5), color=GREY, linewidth=1.5, linestyle="--")
    sizes.set_yscale("log")
    sizes.set_ylabel("training images (dashed)", color=GREY)
    figure.legend(handles=recall_legend(metrics), loc="outside upper center", fontsize=9, frameon=False)
    return figure


def recall_legend(metrics: Metrics) -> list[Patch]:
    patches = []
    for name, value in metrics.shots.items():
        text = f"{name}-shot: {100 * value:.1f} % {behind(metrics.interval(name), metrics.valid_images[metrics.members(name)])}"
        patches.append(Patch(color=SHOT_COLORS[name], label=text))
    empty = int((metrics.valid_images == 0).sum())
    return patches + [Patch(**HATCHED, label=f"{NO_IMAGES} for validation: {count(empty, 'class', 'classes')}")] * (empty > 0)


def draw_bars(axes: Axes, metrics: Metrics, order: np.ndarray, colors: list[str]) -> None:
    """Draws a bar with its interval for each class; a class without images gets a hatched bar of full height."""
    recall, bounds = 100 * metrics.recall[order], 100 * metrics.recall_intervals[order]
    known = ~np.isnan(recall)
    places = np.arange(len(order))
    axes.bar(places[known], recall[known], color=[color for color, there in zip(colors, known) if there], alpha=0.8)
    errors = np.abs(bounds[known].T - recall[known])
    axes.errorbar(places[known], recall[known], errors, fmt="o", color="black", markersize=3, elinewidth=1, capsize=3)
    axes.bar(places[~known], np.full((~known).sum(), FULL), **HATCHED)
    for place in places[~known]:
        axes.text(place, FULL / 2, NO_IMAGES, rotation=90, ha="center", va="center", fontsize=8, bbox=ON_WHITE)


def draw_means(axes: Axes, metrics: Metrics, order: np.ndarray) -> None:
    """Draws the mean recall of neighbouring classes with its interval; classes without images are hatched."""
    recall, hits, images = metrics.recall[order], metrics.hits[order], metrics.valid_images[order]
    blocks = [block for block in split_blocks(len(order)) if images[block].any()]
    middles = [block.mean() for block in blocks]
    low, high = np.array([mean_interval(hits[block], images[block]) for block in blocks]).T
    axes.fill_between(middles, 100 * low, 100 * high, color="black", alpha=0.15, linewidth=0)
    axes.plot(middles, [100 * np.nanmean(recall[block]) for block in blocks], color="black", linewidth=1.5)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], images == 0, [0]])))   # of sequences of classes without images
    axes.broken_barh([(start - 0.5, end - start) for start, end in ends.reshape(-1, 2)], (100 - FULL, 2 * FULL), **HATCHED)


def scatter_recall(axes: Axes, recall: np.ndarray, colors: list[str]) -> str:
    """Draws a dot per class. If many classes share few values (three validation images allow four), a dot stands for all
    neighbouring classes of equal recall, and its area for their number. Returns the text that explains the dots."""
    levels = np.unique(recall[~np.isnan(recall)])
    if len(levels) * BLOCKS >= len(recall):
        axes.scatter(range(len(recall)), recall, c=colors, s=max(5, 1500 / len(recall)), alpha=0.5, linewidths=0)
        return "dot: one class"
    blocks = split_blocks(len(recall))
    numbers = np.array([[(recall[block] == level).sum() for level in levels] for block in blocks])
    middles, heights = np.meshgrid([block.mean() for block in blocks], levels, indexing="ij")
    middle_colors = np.repeat([colors[int(block.mean())] for block in blocks], len(levels))
    areas = 150 * numbers.ravel() / numbers.max()
    axes.scatter(middles.ravel(), heights.ravel(), c=middle_colors, s=areas, alpha=0.5, linewidths=0)
    return "dot: neighbouring classes of equal recall, area: their number"


def split_blocks(count: int) -> list[np.ndarray]:
    """Splits the positions of ``count`` classes into at most 50 blocks, of at least four classes."""
    return np.array_split(np.arange(count), min(BLOCKS, max(1, count // 4)))


def reliability_figure(bins: Bins, ece: float) -> Figure:
    """Reliability diagram: accuracy of the predictions by their confidence; below it, the number of predictions."""
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    axes, numbers = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(0, 100, len(bins.images) + 1)
    middles, width, filled = (edges[1:] + edges[:-1]) / 2, edges[1], bins.images > 0
    accuracy, confidence = 100 * bins.accuracy[filled], 100 * bins.confidence[filled]
    bounds = 100 * recall_intervals(bins.hits[filled], bins.images[filled])
    axes.bar(middles[filled], accuracy, width, color=BLUE, alpha=0.8, edgecolor="white", label="accuracy")
    axes.errorbar(middles[filled], accuracy, np.abs(bounds.T - accuracy), fmt="none", ecolor="black", elinewidth=1, capsize=3,
                  label="95 % interval of the accuracy")
    axes.plot(confidence, confidence, "_", color=RED, markersize=16, markeredgewidth=2, label="mean confidence")
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, FULL)
    axes.set_xlim(0, 100)
    axes.set_title(f"ECE {100 * ece:.1f} %: {judge_confidence(bins)}", fontsize=11)
    axes.legend(frameon=False, loc="upper left")
    axes.grid(alpha=0.3)
    bars = numbers.bar(middles, bins.images, width, color=GREY, edgecolor="white")
    numbers.bar_label(bars, [f"{number:,}" if number else "" for number in bins.images], fontsize=7)
    numbers.margins(y=0.2)
    numbers.set_ylabel("images")
    numbers.set_xlabel("confidence (%, probability of the predicted class)")
    return figure
