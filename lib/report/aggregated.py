"""Accuracy with expert weights learned on the test images without labels: a table and expert_weights.json."""
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.report.intervals import wilson
from lib.report.predictions import Predictions
from lib.report.priors import Shift
from lib.utils.files import write_text_atomically

FILE = "expert_weights.json"


class Aggregated(NamedTuple):
    """One set of test images, with the weights that were learned on it."""

    test_set: str
    images: int
    weights: list[float]   # of each expert
    equal: float           # top-1 accuracy with equal weights of the experts
    learned: float         # top-1 accuracy with the learned weights


def measure_aggregation(plain: Predictions, learned: Mapping[Shift | None, tuple[Tensor, Predictions]],
                        class_counts: Tensor) -> list[Aggregated]:
    """Args:
        plain: predictions for all test images, with the mean of the experts.
        learned: for each shifted set, the weights learned on it and the predictions for all test images with them; the key
            None is the whole test set.
    """
    found = []
    for shift, (weights, predictions) in learned.items():
        rows = torch.arange(len(plain.labels)) if shift is None else shift.rows(plain.labels, class_counts)
        equal, own = (float((one.rank[rows] == 0).double().mean()) for one in (plain, predictions))
        found.append(Aggregated("all images" if shift is None else shift.name, len(rows), weights.tolist(), equal, own))
    return found


def aggregation_table(results: Sequence[Aggregated]) -> str:
    lines = ["test set       images  equal weights  learned weights   weights of the experts"]
    for one in results:
        weights = "  ".join(f"{weight:.2f}" for weight in one.weights)
        lines.append(f"{one.test_set:<13}{one.images:>8,}{100 * one.equal:>14.2f}%{100 * one.learned:>16.2f}%   {weights}")
    return "\n".join(lines)


def write_aggregation(directory: Path, results: Sequence[Aggregated], about: dict[str, Any]) -> dict[str, Path]:
    rows = [one._asdict() | {f"{name}_interval": interval(getattr(one, name), one.images) for name in ("equal", "learned")}
            for one in results]
    path = directory / FILE
    write_text_atomically(path, json.dumps(about | {"aggregation": rows}, indent=2) + "\n")
    return {"aggregation": path}


def interval(accuracy: float, images: int) -> list[float]:
    """Wilson's 95 % confidence interval."""
    low, high = wilson(torch.tensor(accuracy).double().numpy(), torch.tensor(images).double().numpy())
    return [float(low), float(high)]
