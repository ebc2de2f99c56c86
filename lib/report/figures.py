"""Pictures of a run. Each function returns a matplotlib Figure; nothing global is touched."""
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lib.report.metrics import BEST_BY, FEW, MANY, Confusion, Metrics
from lib.utils.files import write_bytes_atomically
from lib.utils.text import printable

# Okabe and Ito's colours, which colour-blind readers tell apart
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
CRITERION_COLORS = {"accuracy": GREEN, "balanced": PURPLE, "macro_f1": "black"}   # of TEST.BEST_BY
SHOT_COLORS = {"many": BLUE, "medium": ORANGE, "few": RED}
NAMED_CLASSES = 30     # more class names than this on an axis cannot be read
LONGEST_NAME, ROOMY = 40, 10   # characters of a class name that are shown, and for which figures have room as they are
CELL_NUMBERS = 20      # more rows than this, and the numbers do not fit into the cells
FAINT, FAINT_TICKS = 0.4, (0, 1, 5, 20, 50, 100)   # colour ∝ share ** 0.4, so that 1 % is seen where there are no numbers
BLOCKS = 50            # of neighbouring classes, where a figure summarises them
FULL = 102             # per cent, end of an axis, so that a line at 100 is seen
DPI = 130
NARROW, WIDE = 0.085, 0.14   # inches of a letter and of a Chinese, Japanese or Korean one


def save_figure(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_bytes_atomically(path, buffer.getvalue())


def shot(count: int) -> str:
    return "many" if count > MANY else "few" if count < FEW else "medium"


def confusion_figure(matrix: Confusion, metrics: Metrics, class_names: Sequence[str]) -> Figure:
    """Share of each true class (row) that is predicted as each class (column), frequent classes first."""
    rows, classes = len(matrix.counts), len(matrix.order)
    side = min(max(5.0, 0.42 * rows + 2.5), 10.0) + room_for(class_names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * matrix.counts, totals, out=np.zeros(matrix.counts.shape), where=totals > 0)
    numbered = rows <= CELL_NUMBERS
    picture = axes.imshow(shares, cmap="Blues", norm=Normalize(0, 100) if numbered else PowerNorm(FAINT, 0, 100),
                          extent=(0.5, classes + 0.5, classes + 0.5, 0.5))   # axes count classes, whatever shares a cell
    ticks = None if numbered else FAINT_TICKS
    figure.colorbar(picture, ax=axes, label="% of the true class", shrink=0.8, ticks=ticks, format="%g")
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
        shared = f", {classes / rows:.0f} to a cell; on the diagonal also those mistaken for one another inside it"
        axes.set_xlabel("predicted class, by training images" + shared * (rows < classes))
        axes.set_ylabel("true class, by training images (number)")
        mark_shots(axes, counts)
    if numbered:
        write_cells(axes, shares)
    return figure


def mark_shots(axes: Axes, counts: np.ndarray) -> None:
    """Lines between the shot groups on both axes of a confusion matrix, and their names above it; ``counts`` descend."""
    groups = np.array([shot(count) for count in counts])
    for name, color in SHOT_COLORS.items():
        members = np.flatnonzero(groups == name)
        if not len(members):
            continue
        axes.annotate(name, ((members[0] + members[-1]) / 2 + 1, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                      textcoords="offset points", ha="center", color=color)
        if members[0] > 0:
            axes.axvline(members[0] + 0.5, color=GREY, linewidth=0.8, linestyle="--")
            axes.axhline(members[0] + 0.5, color=GREY, linewidth=0.8, linestyle="--")


def write_cells(axes: Axes, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share > 0.5:   # what rounds to 1
            color = "white" if share > 55 else "black"
            axes.text(column + 1, row + 1, f"{share:.0f}", ha="center", va="center", fontsize=8, color=color)


def plain_text(name: str) -> str:
    """A name on one line, where matplotlib would take what is between two dollar signs for a formula."""
    return printable(name, LONGEST_NAME).replace("$", r"\$")


def room_for(class_names: Sequence[str]) -> float:
    """Inches that long names take from a picture; none where there are too many to be shown."""
    if len(class_names) > NAMED_CLASSES:
        return 0.0
    widths = [sum(WIDE if east_asian_width(letter) in "WF" else NARROW for letter in name[:LONGEST_NAME]) for name in class_names]
    return max(0.0, max(widths) - ROOMY * NARROW)


def recall_figure(metrics: Metrics, class_names: Sequence[str]) -> Figure:
    """Recall of each class, from frequent to rare, over its number of training images."""
    order = np.argsort(-metrics.train_images, kind="stable")
    figure = Figure(figsize=(9, 4.5 + room_for(class_names)), layout="constrained")
    axes = figure.add_subplot()
    counts, recall = metrics.train_images[order], 100 * metrics.recall[order]
    colors = [SHOT_COLORS[shot(count)] for count in counts]
    if len(order) <= NAMED_CLASSES:
        axes.bar(range(len(order)), np.nan_to_num(recall), color=colors)
        names = [plain_text(class_names[number]) for number in order]
        axes.set_xticks(range(len(order)), names, rotation=90 if max(map(len, names)) > 4 else 0)
        axes.set_xlabel("class, from frequent to rare")
    else:
        what = scatter_recall(axes, recall, colors)
        axes.plot(*block_means(recall), color="black", linewidth=1.5)
        axes.set_xlabel(f"classes, from frequent to rare ({what}; line: mean of neighbours)")
    axes.set_ylabel("recall (%)")
    axes.set_ylim(0 if len(order) <= NAMED_CLASSES else 100 - FULL, FULL)
    sizes = axes.twinx()
    sizes.plot(range(len(order)), np.maximum(counts, 0.5), color=GREY, linewidth=1.5, linestyle="--")
    sizes.set_yscale("log")
    sizes.set_ylabel("training images (dashed)", color=GREY)
    legend = [Patch(color=SHOT_COLORS[name], label=f"{name}-shot: {100 * value:.1f} % ({metrics.shot_sizes[name]:,} classes)")
              for name, value in metrics.shots.items()]
    figure.legend(handles=legend, loc="outside upper center", ncols=3, frameon=False)
    return figure


def scatter_recall(axes: Axes, recall: np.ndarray, colors: list[str]) -> str:
    """A dot per class; where few values are shared by many classes (three validation images have four), dots that grow with
    the number of neighbours of equal recall. Returns what a dot is."""
    levels = np.unique(recall[~np.isnan(recall)])
    if len(levels) * BLOCKS >= len(recall):
        axes.scatter(range(len(recall)), recall, c=colors, s=max(5, 1500 / len(recall)), alpha=0.5, linewidths=0)
        return "dot: a class"
    blocks = split_blocks(len(recall))
    numbers = np.array([[(recall[block] == level).sum() for level in levels] for block in blocks])
    middles, heights = np.meshgrid([block.mean() for block in blocks], levels, indexing="ij")
    middle_colors = np.repeat([colors[int(block.mean())] for block in blocks], len(levels))
    areas = 150 * numbers.ravel() / numbers.max()
    axes.scatter(middles.ravel(), heights.ravel(), c=middle_colors, s=areas, alpha=0.5, linewidths=0)
    return "dot: neighbours of equal recall, area: how many"


def split_blocks(count: int) -> list[np.ndarray]:
    """Positions of ``count`` classes in blocks of about a fiftieth, four classes at least."""
    return np.array_split(np.arange(count), min(BLOCKS, max(1, count // 4)))


def block_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and mean of each block; NaNs do not count."""
    blocks = split_blocks(len(values))
    known = [values[block][~np.isnan(values[block])] for block in blocks]
    return (np.array([block.mean() for block in blocks]), np.array([part.mean() if len(part) else math.nan for part in known]))


def class_counts_figure(class_counts: Tensor, class_names: Sequence[str]) -> Figure:
    """Training images per class, from frequent to rare, on a logarithmic axis."""
    counts = class_counts.numpy()
    order = np.argsort(-counts, kind="stable")
    figure = Figure(figsize=(9, 4 + room_for(class_names)), layout="constrained")
    axes = figure.add_subplot()
    heights, colors = np.maximum(counts[order], 0.5), [SHOT_COLORS[shot(count)] for count in counts[order]]
    if len(order) <= NAMED_CLASSES:
        bars = axes.bar(range(len(order)), heights, color=colors)
        axes.bar_label(bars, [f"{count:,}" for count in counts[order]], fontsize=8)
        names = [plain_text(class_names[number]) for number in order]
        axes.set_xticks(range(len(order)), names, rotation=90 if max(map(len, names)) > 4 else 0)
    else:
        for name, color in SHOT_COLORS.items():
            members = np.flatnonzero([shot(count) == name for count in counts[order]])   # side by side, since they are sorted
            if len(members):
                axes.stairs(heights[members], np.arange(members[0], members[-1] + 2), baseline=0.5, fill=True, color=color)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 2 * counts.max())
    axes.set_xlabel("classes, from frequent to rare")
    axes.set_ylabel("training images")
    axes.set_title(f"{counts.sum():,} images, {len(counts):,} classes, {counts.max():,} to {counts.min():,} per class")
    numbers = {name: sum(shot(count) == name for count in counts) for name in SHOT_COLORS}
    axes.legend(handles=[Patch(color=SHOT_COLORS[name], label=f"{name}-shot: {number:,} of {len(counts):,} classes")
                         for name, number in numbers.items() if number], frameon=False)
    return figure


def training_curves(history: Sequence[dict[str, Any]], marks: dict[str, int], best_by: str = "accuracy") -> Figure:
    """Loss, accuracy and rate by epoch.

    Args:
        history: entries of history.jsonl; what an epoch did not measure is absent.
        marks: text and epoch of moments to point out.
        best_by: TEST.BEST_BY, whose best epoch is marked.
    """
    figure = Figure(figsize=(9, 9), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 4, 2])
    curve(loss, history, "train_loss", "training", GREY)
    curve(loss, history, "valid_loss", "validation (plain cross-entropy)", GREEN, linewidth=2)
    loss.set_yscale("log")   # the first epochs at a high rate would hide all others
    loss.set_ylabel("loss (nats)")
    curve(accuracy, history, "train_accuracy", "training", GREY, percent=True)
    curve(accuracy, history, "valid_accuracy", "validation", GREEN, percent=True, linewidth=2)
    curve(accuracy, history, "balanced", "balanced", PURPLE, percent=True, linewidth=2)
    if best_by == "macro_f1":
        curve(accuracy, history, "macro_f1", "macro-F1", "black", percent=True)
    for name, color in SHOT_COLORS.items():
        curve(accuracy, history, name, f"{name}-shot", color, percent=True, linestyle=":")
    accuracy.set_ylabel("accuracy (%)")
    accuracy.set_ylim(0, FULL)
    curve(rate, history, "rate", "learning rate", "black")
    rate.set_yscale("log")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    mark_best(accuracy, history, best_by)
    for text, epoch in marks.items():
        for axes in (loss, accuracy, rate):
            axes.axvline(epoch, color=GREY, linestyle="--", linewidth=1)
        loss.annotate(f" {text}", (epoch, 0.98), xycoords=("data", "axes fraction"), va="top", color=GREY)
    for axes in (loss, accuracy):
        if axes.lines:
            axes.legend(frameon=False, ncols=2)
        axes.grid(alpha=0.3)
    return figure


def curve(axes: Axes, history: Sequence[dict[str, Any]], key: str, label: str, color: str, percent: bool = False,
          linewidth: float = 1.5, linestyle: str = "-") -> None:
    points = [(entry["epoch"], entry[key] * (100 if percent else 1)) for entry in history if entry.get(key) is not None]
    if points:
        axes.plot(*zip(*points), color=color, label=label, marker="." if len(points) < 40 else "", linewidth=linewidth,
                  linestyle=linestyle)


def mark_best(axes: Axes, history: Sequence[dict[str, Any]], best_by: str) -> None:
    key, title = BEST_BY[best_by]
    what = "" if best_by == "accuracy" else f" {title}"
    validated = [entry for entry in history if key in entry]
    if validated:
        best = max(validated, key=lambda entry: entry[key])
        axes.plot(best["epoch"], 100 * best[key], "o", color=CRITERION_COLORS[best_by], fillstyle="none", markersize=10,
                  label=f"best{what}: {100 * best[key]:.2f} % (selected on the validation set)")
