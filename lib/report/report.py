"""The files of one validation: metrics.json, per_class.csv, and the figures."""
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lib.report.metrics import Metrics
from lib.report.predictions import Predictions, confusion
from lib.report.style import save_figure
from lib.report.validation_figures import confusion_figure, recall_figure
from lib.utils.files import write_text_atomically
from lib.utils.text import csv_text

COLUMNS = ("class", "name", "train_images", "valid_images", "recall", "precision", "f1")


def write_report(directory: Path, predictions: Predictions, metrics: Metrics, class_names: list[str], class_counts: Tensor,
                 about: dict[str, Any]) -> dict[str, Path]:
    """Writes everything below ``directory``; returns what is where.

    Args:
        about: what metrics.json says beside the numbers, such as the epoch and the checkpoint.
    """
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    paths = {"metrics": directory / "metrics.json", "per_class": directory / "per_class.csv",
             "confusion_matrix": figures / "confusion_matrix.png", "recall_by_class": figures / "recall_by_class.png"}
    write_text_atomically(paths["metrics"], json.dumps(about | metrics.to_dict(), indent=2) + "\n")
    write_text_atomically(paths["per_class"], class_csv(metrics, class_names))
    save_figure(confusion_figure(confusion(predictions, class_counts), metrics, class_names), paths["confusion_matrix"])
    save_figure(recall_figure(metrics, class_names), paths["recall_by_class"])
    return paths


def class_csv(metrics: Metrics, class_names: list[str]) -> str:
    """A row per class, in label order; an empty field where a number is not defined. Names are those of ``safe_cell``."""
    scores = np.stack([metrics.recall, metrics.precision, metrics.f1], axis=1)
    rows = [(number, name, metrics.train_images[number], metrics.valid_images[number],
             *("" if np.isnan(score) else f"{score:.6f}" for score in scores[number]))
            for number, name in enumerate(class_names)]
    return csv_text([COLUMNS, *rows])
