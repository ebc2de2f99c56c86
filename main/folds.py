"""Trains one run per fold, so that every image is validated once, and reports over all of them.

    python main/train.py --cfg configs/own/scratch.yaml --gpus cpu DATASET.ROOT /data/birds NAME birds --folds 5
"""
import argparse
import copy
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from lib.config import Config
from lib.core import build
from lib.dataset import ImageSet
from lib.dataset.folder import SPLIT, Assignment
from lib.device.runtime import Runtime
from lib.report.metrics import Metrics, measure
from lib.report.predictions import Predictions
from lib.report.tables import class_csv, class_table, summary
from lib.run.own_files import CONFIG
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.log import start_logging
from lib.utils.text import count, name_some, shell_line
from main.look import FOLDS
from main.reporting import shot_bounds

log = logging.getLogger("main.train")

TEXT, NUMBERS, BY_CLASS, EVERYTHING = "folds.txt", FOLDS, "per_class.csv", "everything.csv"
SHOWN_CLASSES = 20   # in the log; all are in the text
SCORES = ("top1", "balanced_accuracy")


class Outcome(NamedTuple):
    """The result of a run."""

    predictions: Predictions | None   # of the last epoch
    images: ImageSet | None           # that were validated
    class_counts: Tensor              # (C,), training images
    assignment: Assignment | None     # of a data set that is looked at


Train = Callable[[Config, argparse.Namespace, Runtime], Outcome]


def train_folds(cfg: Config, args: argparse.Namespace, runtime: Runtime, train: Train) -> None:
    """Trains the remaining part of all folds. The images and the folds are those that the first fold has found.

    Args:
        train: trains one run.
    """
    folder = Path(cfg.OUTPUT_DIR) / cfg.NAME
    with runtime.agree():
        if runtime.is_main:
            check(cfg, args, folder)
    outcomes = []
    for fold in range(1, args.folds + 1):
        start_logging(runtime.rank)   # each run has a log of its own
        log.info("Fold %d of %d", fold, args.folds)
        outcomes.append(train(*of_fold(cfg, args, fold), runtime))
    start_logging(runtime.rank)
    if runtime.is_main:
        with Run(folder).writing("run the same command with --ar True again once there is room"):
            report(cfg, args, folder, outcomes)


def check(cfg: Config, args: argparse.Namespace, folder: Path) -> None:
    """Refuses, before the first fold is trained, what would fail at a later fold or confuse the folds."""
    if not build.has_survey(cfg):
        raise InputError(f"--folds: DATASET.DATASET {cfg.DATASET.DATASET} has its own validation set; folds need "
                         "DATASET.DATASET FOLDER")
    if args.folds < 2:
        raise InputError(f"--folds: must be 2 or more, got {args.folds}")
    if Run(folder).holds_a_run():
        raise InputError(f"--folds: {folder} already holds a run; choose another NAME")
    for fold in range(1, args.folds + 1):
        run = Run(folder / f"fold_{fold}")
        if not (args.ar or args.overwrite):
            run.check_free()
        if args.ar and (run.directory / CONFIG).is_file():
            there = yaml.safe_load((run.directory / CONFIG).read_text(encoding="utf-8"))["DATASET"]["FOLDER"]["FOLDS"]
            if there != args.folds:
                raise InputError(f"--folds: {run.directory} is one of {there} folds, not of {args.folds}; replace them with "
                                 "--overwrite, or choose another NAME")


def of_fold(cfg: Config, args: argparse.Namespace, fold: int) -> tuple[Config, argparse.Namespace]:
    """The configuration and options of one run, as a command that validates it would have them."""
    folder = Path(cfg.OUTPUT_DIR) / cfg.NAME
    values = {"OUTPUT_DIR": str(folder), "NAME": f"fold_{fold}", "DATASET.FOLDER.FOLDS": args.folds, "DATASET.FOLDER.FOLD": fold}
    if cfg.DATASET.FOLDER.CACHE:
        values["DATASET.FOLDER.CACHE"] = str((Path(cfg.OUTPUT_DIR) / cfg.DATASET.FOLDER.CACHE).absolute())
    first = folder / "fold_1" / SPLIT
    if fold > 1 and first.is_file():
        values["DATASET.FOLDER.SPLIT"] = str(first)
    if cfg.TRAIN.MINUTES:
        values["TRAIN.MINUTES"] = cfg.TRAIN.MINUTES / args.folds   # which are those of the whole command
    own, own_args = cfg.clone(), copy.copy(args)
    own.defrost()
    for key, value in values.items():
        own.put(key, value)
    own.freeze()
    own_args.words = [*args.words, *(str(word) for pair in values.items() for word in pair)]
    own_args.folds, own_args.started = None, time.monotonic()
    return own, own_args


def report(cfg: Config, args: argparse.Namespace, folder: Path, outcomes: list[Outcome]) -> None:
    """Writes the report over the predictions of all folds, and logs how to train on all images."""
    # all have one, since FOLDER alone has folds
    assignments = [outcome.assignment for outcome in outcomes if outcome.assignment is not None]
    names = assignments[0].class_names
    for number, assignment in enumerate(assignments, start=1):
        if assignment.class_names != names:
            raise InputError(f"--folds: fold 1 and fold {number} have different classes; --overwrite trains all folds again")
    bounds = shot_bounds(cfg)
    counts = torch.stack([outcome.class_counts for outcome in outcomes]).double().mean(dim=0).ceil().long()
    validated = [(outcome.predictions, outcome.class_counts) for outcome in outcomes if outcome.predictions is not None]
    together = measure(pool([predictions for predictions, _ in validated]), counts, bounds)
    each = [measure(predictions, own, bounds) for predictions, own in validated]
    text = "\n".join([*describe_folds(each), "", f"All {count(len(outcomes), 'fold')} together, every image validated by the "
                      "network that was not trained on it:", summary(together), "", class_table(together, names, len(names))])
    write_text_atomically(folder / TEXT, text + "\n")
    write_text_atomically(folder / NUMBERS, json.dumps(to_json(each, together), indent=2) + "\n")
    write_text_atomically(folder / BY_CLASS, class_csv(together, names))
    assignments[0].for_training().write(folder / EVERYTHING)
    log.info("%s", text if len(names) <= SHOWN_CLASSES else text[:text.index("\n\n", text.index("\n\n") + 1)])
    for line in odd_files(outcomes):
        log.warning("%s", line)
    log.info("Written:%s", "".join(f"\n    {folder / name}" for name in (TEXT, NUMBERS, BY_CLASS)))
    log.info("To train on all of these images, with none held out:\n    %s", shell_line(final_command(cfg, args, folder)))


def pool(predictions: list[Predictions]) -> Predictions:
    return Predictions(*(torch.cat(column) for column in zip(*predictions)))


def describe_folds(each: list[Metrics]) -> list[str]:
    """A line per fold, and mean and standard deviation over them."""
    rows = [(str(number), metrics.valid_images.sum(), metrics.top1, metrics.balanced_accuracy)
            for number, metrics in enumerate(each, start=1)]
    lines = ["fold  images   Top1  Balanced"]
    lines += [f"{name:>4}  {images:>6}  {100 * top:5.1f}  {100 * balanced:8.1f}" for name, images, top, balanced in rows]
    spread = [f"{100 * mean:.1f} ± {100 * deviation:.1f}" for mean, deviation in (spread_of(each, name) for name in SCORES)]
    return [*lines, f"mean ± standard deviation over the folds: Top1 {spread[0]}, balanced {spread[1]}"]


def spread_of(each: list[Metrics], name: str) -> tuple[float, float]:
    values = [getattr(metrics, name) for metrics in each]
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def to_json(each: list[Metrics], together: Metrics) -> dict[str, Any]:
    folds = [{"directory": f"fold_{number}", **metrics.to_dict()} for number, metrics in enumerate(each, start=1)]
    spread = {name: dict(zip(("mean", "deviation"), spread_of(each, name))) for name in SCORES}
    return {"together": together.to_dict(), "over_folds": spread, "folds": folds}


def odd_files(outcomes: list[Outcome]) -> list[str]:
    """A message on images that were validated more than once because the folds were not made from the same images."""
    held = Counter(file for outcome in outcomes if outcome.images is not None for file in outcome.images.files())
    twice = [file for file, number in held.items() if number > 1]
    return [f"the folds were made of different images: {len(twice):,} were validated more than once ({name_some(twice)}); "
            "--overwrite trains all folds on what is there now"] if twice else []


def final_command(cfg: Config, args: argparse.Namespace, folder: Path) -> list[str]:
    return ["bash", "data_parallel_train.sh", ",".join(args.cfg), args.gpus, *args.words, "NAME", f"{cfg.NAME}_final",
            "DATASET.FOLDER.SPLIT", str(folder / EVERYTHING)]
