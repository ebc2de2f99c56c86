"""The files of one validation: numbers, tables, figures, and a page with all of them."""
import json
from pathlib import Path
from typing import Any

import torch

from lib.report.calibration import calibration_bins
from lib.report.metrics import Evaluated
from lib.report.mistakes import find_mistakes, mistakes_figure
from lib.report.page import Background, Shown, page_html
from lib.report.pictures import thumbnails
from lib.report.predictions import confusion
from lib.report.style import save_figure
from lib.report.tables import class_csv, predictions_csv
from lib.report.validation_figures import confusion_figure, recall_figure, reliability_figure
from lib.utils.files import write_text_atomically

FILES = {"metrics": "metrics.json", "per_class": "per_class.csv", "predictions": "predictions.csv",
         "confusion_matrix": "figures/confusion_matrix.png", "recall_by_class": "figures/recall_by_class.png",
         "reliability": "figures/reliability.png", "mistakes": "figures/mistakes.png", "page": "report.html"}


def write_report(directory: Path, evaluated: Evaluated, about: dict[str, Any], background: Background) -> dict[str, Path]:
    """Writes all files below ``directory``; returns their paths by name.

    Args:
        about: further entries of metrics.json, such as the epoch and the checkpoint.
        background: further content of the page.
    """
    predictions, metrics, images, unreadable, experts = evaluated
    names = images.class_names
    paths = {key: directory / name for key, name in FILES.items()}
    paths["mistakes"].parent.mkdir(parents=True, exist_ok=True)
    numbers = metrics.to_dict() | ({"experts": [expert.outline() for expert in experts]} if experts else {})
    write_text_atomically(paths["metrics"], json.dumps(about | numbers, indent=2) + "\n")
    write_text_atomically(paths["per_class"], class_csv(metrics, names))
    write_text_atomically(paths["predictions"], predictions_csv(predictions, images, unreadable))
    mistakes = find_mistakes(predictions, metrics, unreadable)
    pictures = thumbnails(images, mistakes.indices())
    bins = calibration_bins(predictions.confidence.numpy(), predictions.rank.numpy() == 0)
    figures = {
        "confusion_matrix": confusion_figure(confusion(predictions, torch.from_numpy(metrics.train_images)), metrics, names),
        "recall_by_class": recall_figure(metrics, names), "reliability": reliability_figure(bins, metrics.ece),
        "mistakes": mistakes_figure(mistakes, pictures, names, metrics.train_images)}
    drawn = {key: save_figure(figure, paths[key]) for key, figure in figures.items()}
    drawn |= {path.stem: path.read_bytes() for path in background.figures if path.exists()}
    page = page_html(evaluated, Shown(drawn, mistakes, pictures, bins), about, background)
    write_text_atomically(paths["page"], page)
    return paths
