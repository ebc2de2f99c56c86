"""Figures of a training. Each function returns a matplotlib Figure and changes no global state."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from lib.report.metrics import BEST_BY, USUAL, ShotBounds
from lib.report.style import CRITERION_COLORS, FULL, GREEN, GREY, NAMED_CLASSES, PURPLE, SHOT_COLORS, plain_text, room_for


def class_counts_figure(class_counts: Tensor, class_names: Sequence[str], bounds: ShotBounds = USUAL) -> Figure:
    """Training images per class, from frequent to rare, on a logarithmic axis."""
    counts = class_counts.numpy()
    order = np.argsort(-counts, kind="stable")
    figure = Figure(figsize=(9, 4 + room_for(class_names)), layout="constrained")
    axes = figure.add_subplot()
    groups = np.array([bounds.group(count) for count in counts[order]])
    heights, colors = np.maximum(counts[order], 0.5), [SHOT_COLORS[group] for group in groups]
    if len(order) <= NAMED_CLASSES:
        bars = axes.bar(range(len(order)), heights, color=colors)
        axes.bar_label(bars, [f"{count:,}" for count in counts[order]], fontsize=8)
        names = [plain_text(class_names[number]) for number in order]
        axes.set_xticks(range(len(order)), names, rotation=90 if max(map(len, names)) > 4 else 0)
    else:
        for name, color in SHOT_COLORS.items():
            members = np.flatnonzero(groups == name)   # consecutive, since the classes are sorted
            if len(members):
                axes.stairs(heights[members], np.arange(members[0], members[-1] + 2), baseline=0.5, fill=True, color=color)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 2 * counts.max())
    axes.set_xlabel("classes, from frequent to rare")
    axes.set_ylabel("training images")
    axes.set_title(f"{counts.sum():,} images, {len(counts):,} classes, {counts.max():,} to {counts.min():,} per class")
    numbers = {name: int((groups == name).sum()) for name in SHOT_COLORS}
    axes.legend(handles=[Patch(color=SHOT_COLORS[name],
                               label=f"{name}-shot ({bounds.words(name)} images): {number:,} of {len(counts):,} classes")
                         for name, number in numbers.items() if number], frameon=False)
    return figure


def training_curves(history: Sequence[dict[str, Any]], marks: dict[str, int], best_by: str = "accuracy") -> Figure:
    """Loss, accuracy and learning rate by epoch.

    Args:
        history: entries of history.jsonl; values that were not measured in an epoch are missing.
        marks: {text: epoch} of epochs to mark with a line.
        best_by: TEST.BEST_BY; the best epoch by this metric is marked.
    """
    figure = Figure(figsize=(9, 9), layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 4, 2])
    curve(loss, history, "train_loss", "training", GREY)
    curve(loss, history, "valid_loss", "validation (plain cross-entropy)", GREEN, linewidth=2)
    loss.set_yscale("log")   # the high loss of the first epochs would hide all others
    loss.set_ylabel("loss (nats)")
    curve(accuracy, history, "train_accuracy", "training", GREY, percent=True)
    curve(accuracy, history, "valid_accuracy", "validation", GREEN, percent=True, linewidth=2)
    curve(accuracy, history, "balanced", "balanced", PURPLE, percent=True, linewidth=2)
    band(accuracy, history, "balanced_interval", PURPLE)
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


def band(axes: Axes, history: Sequence[dict[str, Any]], key: str, color: str) -> None:
    """Draws an interval as a band, for the epochs that have one."""
    points = [(entry["epoch"], *entry[key]) for entry in history if entry.get(key) is not None]
    if points:
        epochs, low, high = np.array(points).T
        axes.fill_between(epochs, 100 * low, 100 * high, color=color, alpha=0.12, linewidth=0, label="balanced, 95 % interval")


def mark_best(axes: Axes, history: Sequence[dict[str, Any]], best_by: str) -> None:
    key, title = BEST_BY[best_by]
    what = "" if best_by == "accuracy" else f" {title}"
    validated = [entry for entry in history if key in entry]
    if validated:
        best = max(validated, key=lambda entry: entry[key])
        axes.plot(best["epoch"], 100 * best[key], "o", color=CRITERION_COLORS[best_by], fillstyle="none", markersize=10,
                  label=f"best{what}: {100 * best[key]:.2f} % (selected on the validation set)")
