"""Accuracy on test sets with other class distributions, without and with their prior: a table, shifted_test.json and a figure."""
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lib.report.intervals import wilson
from lib.report.predictions import Predictions
from lib.report.priors import Shift
from lib.report.style import BLUE, FULL, ORANGE, save_figure
from lib.utils.files import write_text_atomically


class Shifted(NamedTuple):
    """Top-1 accuracy on one shifted test set."""

    shift: Shift
    images: int
    plain: float      # of the unadjusted logits
    known: float      # of the logits adjusted to the prior of the set

    def interval(self, accuracy: float) -> list[float]:
        """Wilson's 95 % interval of an accuracy."""
        low, high = wilson(np.float64(accuracy), np.float64(self.images)).tolist()
        return [low, high]


def measure_shifts(plain: Predictions, known: Mapping[Shift, Predictions], class_counts: Tensor) -> list[Shifted]:
    """Accuracies on the shifted sets, from the most long-tailed forward set to the most long-tailed backward one.

    Args:
        plain: predictions for all test images.
        known: predictions for all test images, adjusted to the prior of each shifted set.
        class_counts: training images, (C,).
    """
    found = []
    for shift, predictions in known.items():
        rows = shift.rows(plain.labels, class_counts)
        hits = [float((one.rank[rows] == 0).double().mean()) for one in (plain, predictions)]
        found.append(Shifted(shift, len(rows), *hits))
    return sorted(found, key=lambda one: one.shift.ratio if one.shift.backward else -one.shift.ratio)


def shifts_table(results: Sequence[Shifted]) -> str:
    lines = ["test set       images unadjusted  known prior"]
    lines += [f"{one.shift.name:<13}{one.images:>8,}{100 * one.plain:>10.2f}%{100 * one.known:>12.2f}%" for one in results]
    return "\n".join(lines)


def write_shifts(directory: Path, results: Sequence[Shifted], about: dict[str, Any]) -> dict[str, Path]:
    """Writes shifted_test.json and figures/shifted_test.png below ``directory``; returns their paths by name."""
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    paths = {"shifts": directory / "shifted_test.json", "figure": figures / "shifted_test.png"}
    rows = [{"test_set": one.shift.name, "images": one.images, "top1": one.plain, "top1_interval": one.interval(one.plain),
             "top1_known_prior": one.known, "top1_known_prior_interval": one.interval(one.known)} for one in results]
    content = about | {"images_of_a_class": "the first ones", "shifts": rows}
    write_text_atomically(paths["shifts"], json.dumps(content, indent=2) + "\n")
    save_figure(shifts_figure(results), paths["figure"])
    return paths


def shifts_figure(results: Sequence[Shifted]) -> Figure:
    """Accuracy by test set, with 95 % intervals."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for label, color, move, values in (("unadjusted", BLUE, -0.08, [one.plain for one in results]),
                                       ("adjusted to the prior of the test set", ORANGE, 0.08, [one.known for one in results])):
        bounds = np.array([one.interval(value) for one, value in zip(results, values)])
        errors = np.abs(bounds.T - np.array(values))
        axes.errorbar(np.arange(len(results)) + move, 100 * np.array(values), yerr=100 * errors, color=color, marker="o",
                      capsize=3, label=label)
    axes.set_xticks(range(len(results)), [f"{one.shift.name}\n{one.images:,} images" for one in results], fontsize=7)
    axes.set_xlabel("class distribution of the test set")
    axes.set_ylabel("top-1 accuracy (%), 95 % interval")
    axes.set_ylim(0, FULL)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
