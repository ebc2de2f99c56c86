"""Measures time and memory of everything that grows with the number of images and classes, on generated annotations.

    python tools/measure_scale.py                                        # iNaturalist 2018: 437,513 images, 8,142 classes
    python tools/measure_scale.py --images 10000000 --classes 8142 --valid 100000
    python tools/measure_scale.py --images 115846 --classes 1000 --valid 50000 --figures output/figures

The JSON is written to a temporary folder, long-tailed, and every entry names the same JPEG by a path of iNaturalist's length. The
start is that of training: imports, JSON, data sets, loaders, worker processes, first batch. Predictions are random, and better
for frequent classes. CPU seconds are this process's, all threads together. Memory is its highest resident set so far; workers
come on top.
"""
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.config import load_config
from lib.core import build
from lib.dataset import SAMPLERS, ImageSet
from lib.device.runtime import Runtime
from lib.report.figures import class_counts_figure
from lib.report.metrics import measure
from lib.report.predictions import Predictions, confusion, predictions_of
from lib.report.style import save_figure
from lib.report.validation_figures import confusion_figure, recall_figure
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.seed import shared_generator
from lib.utils.system import peak_memory
from main.command import exit_status
from tools.measure.options import natural, new_file, positive

IMAGE = f"train_val2018/Plantae/7477/{'0' * 32}.jpg"
LARGEST, SMALLEST = 1000, 2       # images of the most frequent and of the rarest class, before scaling to the total
BATCH = 512                       # of evaluation
PART = 10_000                     # entries that are written at once
DRAWS = {"default": [{}], "weighted sampler": [{"type_": kind} for kind in ("balance", "square", "progressive")],
         "bbn sampler": [{"type_": kind} for kind in ("reverse", "balance", "uniform")]}


def long_tail(images: int, classes: int) -> np.ndarray:
    """Images per class, (C,), in no order, ``images`` in all, at least one of each class."""
    profile = LARGEST * (SMALLEST / LARGEST) ** (np.arange(classes) / max(classes - 1, 1))
    counts = np.maximum(1, profile / profile.sum() * images).astype(int)
    counts[0] += images - counts.sum()
    return np.random.default_rng(0).permutation(counts)


def write_json(path: Path, labels: np.ndarray, classes: int) -> None:
    """Writes the JSON in parts, so that writing causes no memory peak that hides later ones."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for start in range(0, len(labels), PART):
            lines = [f'{{"image_id": {number}, "fpath": "{IMAGE}", "im_height": {375 + number % 2}, "im_width": 500, '
                     f'"category_id": {label}}}' for number, label in enumerate(labels[start:start + PART].tolist(), start)]
            file.write(", " * (start > 0) + ", ".join(lines))
        file.write(f'], "num_classes": {classes}}}')


def prepare(folder: Path, args: argparse.Namespace) -> None:
    """Writes the image and the two JSON files."""
    random = np.random.default_rng(0)
    (folder / IMAGE).parent.mkdir(parents=True)
    Image.fromarray(random.integers(256, size=(375, 500, 3), dtype=np.uint8)).save(folder / IMAGE)
    labels = np.repeat(np.arange(args.classes), long_tail(args.images, args.classes))
    write_json(folder / "train.json", random.permutation(labels), args.classes)
    write_json(folder / "valid.json", np.arange(args.valid) % args.classes, args.classes)


class ScaleTable:
    """A table whose rows are printed as soon as they are measured."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        print(f"{'':<44}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}")

    def row(self, what: str, seconds: float, cpu_seconds: float, note: str = "") -> None:
        peak = peak_memory()
        self.rows.append({"what": what, "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3),
                          "peak_mib": round(peak), "note": note})
        print(f"{what:<44}{seconds:>9.2f}{cpu_seconds:>9.2f}{peak:>10.0f}  {note}", flush=True)

    def time(self, what: str, function: Callable, *args: Any) -> Any:
        started, cpu_started = time.perf_counter(), time.process_time()
        result = function(*args)
        self.row(what, time.perf_counter() - started, time.process_time() - cpu_started)
        return result


def measure_start(table: ScaleTable, folder: Path, workers: int, imports: tuple[float, float]) -> tuple[ImageSet, ImageSet]:
    """From the first import to the first batch; ``imports``: seconds and CPU seconds that they took."""
    started, cpu_started = time.perf_counter(), time.process_time()
    table.row("imports", *imports)
    cfg = load_config("configs/iNat18/iNat18_baseline.yaml", [
        "DATASET.ROOT", str(folder), "DATASET.TRAIN_JSON", "train.json", "DATASET.VALID_JSON", "valid.json",
        "TRAIN.NUM_WORKERS", str(workers), "TEST.NUM_WORKERS", "0"])
    sets = table.time("both sets, from JSON", build.build_datasets, cfg)
    loader, _ = table.time("loaders", build.build_loaders, cfg, *sets, Runtime(torch.device("cpu")))
    batches = iter(loader)
    table.time(f"first batch, {workers} workers", next, batches)
    table.row("start to first batch", imports[0] + time.perf_counter() - started,
              imports[1] + time.process_time() - cpu_started, "CPU seconds without the workers'")
    return sets


def measure_draws(table: ScaleTable, train_set: ImageSet) -> None:
    for name, kinds in DRAWS.items():
        for options in kinds:
            draw = SAMPLERS[name](train_set.labels, train_set.class_counts, 100, **options)
            table.time(f"an epoch's draw: {' '.join([name, *options.values()])}", draw, 1, shared_generator(0, 1))


def predict(labels: Tensor, class_counts: Tensor) -> Predictions:
    """Random logits, a batch at a time, that favour the true class more the more frequent it is."""
    generator = torch.Generator().manual_seed(0)
    frequency = class_counts.clamp_min(1).log()
    predictions, done = Predictions.empty(len(labels), torch.device("cpu")), 0
    for batch in labels.split(BATCH):
        logits = torch.randn(len(batch), len(class_counts), generator=generator) + 0.3 * frequency
        logits[torch.arange(len(batch)), batch] += 2.5 + 0.3 * frequency[batch]
        predictions.put(slice(done, done + len(batch)), predictions_of(logits, batch))
        done += len(batch)
    return predictions


def measure_evaluation(table: ScaleTable, train_set: ImageSet, valid_set: ImageSet, figures: Path) -> None:
    counts, names = train_set.class_counts, train_set.class_names
    predictions = table.time("evaluation, logits drawn instead of computed", predict, valid_set.labels, counts)
    metrics = table.time("metrics", measure, predictions, counts)
    matrix = table.time("confusion matrix", confusion, predictions, counts)
    for name, function, *rest in (("confusion_matrix", confusion_figure, matrix, metrics, names),
                                  ("recall_by_class", recall_figure, metrics, names),
                                  ("class_counts", class_counts_figure, counts, names)):
        table.time(f"figure {name}", lambda: save_figure(function(*rest), figures / f"{name}.png"))   # noqa: B023


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=437_513, help="training images (default 437513)")
    parser.add_argument("--classes", type=positive, default=8142, help="classes (default 8142)")
    parser.add_argument("--valid", type=positive, default=24_426, help="validation images (default 24426)")
    parser.add_argument("--workers", type=natural, default=2, help="processes that read images (default 2)")
    parser.add_argument("--figures", type=Path, help="folder to keep the figures in")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the table to this file as well")
    imports = time.perf_counter() - STARTED, time.process_time()
    return exit_status(lambda: run(parser.parse_args(argv), imports))


def run(args: argparse.Namespace, imports: tuple[float, float]) -> None:
    """Args:
        imports: seconds and CPU seconds that they took.
    """
    if args.images < args.classes:
        raise InputError(f"--images: must be at least the number of classes, {args.classes}, got {args.images}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args)
        figures = args.figures or folder
        figures.mkdir(parents=True, exist_ok=True)
        print(f"{args.images:,} training and {args.valid:,} validation images, {args.classes:,} classes, "
              f"{(folder / 'train.json').stat().st_size / 1e6:,.0f} MB of JSON, torch {torch.__version__}, "
              f"{torch.get_num_threads()} threads")
        table = ScaleTable()
        train_set, valid_set = measure_start(table, folder, args.workers, imports)
        measure_draws(table, train_set)
        measure_evaluation(table, train_set, valid_set, figures)
    if args.json:
        write_text_atomically(args.json, json.dumps(table.rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
