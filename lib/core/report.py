"""The files of one validation: metrics.json, per_class.csv, and the figures; and what is said of images that were skipped."""
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lib.core.figures import confusion_figure, recall_figure, save_figure
from lib.core.metrics import Metrics, Predictions, confusion
from lib.core.runtime import Runtime
from lib.dataset import FileLoader, Findings, MemoryLoader
from lib.utils.files import write_text_atomically
from lib.utils.text import csv_text

log = logging.getLogger(__name__)

COLUMNS = ("class", "name", "train_images", "valid_images", "recall", "precision", "f1")
SHOWN_COMPLAINTS = 5   # images that are named one by one; of more, the number is told


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


class FindingsLog:
    """Says, on rank 0, what the loaders of all ranks come across in their images: each unreadable image and each remark once in a
    run, and in the end what it has come to."""

    def __init__(self, loaders: Sequence[MemoryLoader | FileLoader], runtime: Runtime) -> None:
        self.loaders, self.runtime = loaders, runtime
        self.known = [Findings() for _ in loaders]          # of each loader, all that was found
        self.said: list[dict[str, int]] = [{} for _ in loaders]   # of each remark, how many images it was said of

    def tell(self) -> None:
        """What has been found since the last time; to be called on all ranks."""
        for loader, known, said in zip(self.loaders, self.known, self.said):
            found = Findings.together(self.runtime.gather_objects(loader.take_findings()))
            new = [found.unreadable[index] for index in sorted(found.unreadable.keys() - known.unreadable.keys())]
            known.add(found)
            if new and self.runtime.is_main:
                more = [f"and {len(new) - SHOWN_COMPLAINTS} more"] if len(new) > SHOWN_COMPLAINTS else []
                log.warning("%s: %d images could not be read, others of their class took their place:%s", loader.set.name,
                            len(new), "".join(f"\n    {line}" for line in [*new[:SHOWN_COMPLAINTS], *more]))
            for remark in sorted(known.remarks.keys() - said.keys()):
                self.say(loader, remark, known, said)

    def sum_up(self) -> None:
        """What has grown since it was said; to be called on all ranks."""
        self.tell()
        for loader, known, said in zip(self.loaders, self.known, self.said):
            if known.unreadable and self.runtime.is_main:
                log.warning("%s: in all, %d of %d images could not be read, and others of their class took their place",
                            loader.set.name, len(known.unreadable), len(loader.set.labels))
            for remark in sorted(remark for remark, number in said.items() if len(known.remarks[remark]) > number):
                self.say(loader, remark, known, said)

    def say(self, loader: MemoryLoader | FileLoader, remark: str, known: Findings, said: dict[str, int]) -> None:
        said[remark] = len(known.remarks[remark])
        if self.runtime.is_main:
            log.info("%s: %d of %d images %s", loader.set.name, said[remark], len(loader.set.labels), remark)
