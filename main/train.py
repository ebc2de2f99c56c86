"""Trains one configuration and reports accuracy, shot groups and the confusion matrix of the last epoch.

    python main/train.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/train.py --cfg configs/test/digits_lt.yaml --gpus 0 LOSS.LOSS_TYPE BalancedSoftmaxCE NAME digits_bsce
    bash data_parallel_train.sh configs/test/data_parallel.yaml 0,1
    bash distributed_data_parallel_train.sh configs/test/distributed_data_parallel.yaml 2 0,1

A run that was interrupted goes on with --ar True, and ends as if it had never been.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import logging
import math
import shlex
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from lib.config import Config
from lib.core import build
from lib.core.combiner import Combiner
from lib.core.engine import Loader, evaluate, set_rate, train_one_epoch
from lib.core.figures import class_counts_figure, save_figure, training_curves
from lib.core.metrics import Predictions, measure, summary
from lib.core.precision import Precision
from lib.core.progress import Progress, Throttle
from lib.core.report import log_unreadable, write_report
from lib.core.run import BEST, LAST, Run
from lib.core.runtime import Runtime, to_device, unwrap
from lib.dataset import ImageSet
from lib.utils.errors import RunFailedError
from lib.utils.schedule import Schedule
from lib.utils.seed import seed_globals
from main.command import make_parser, run_command
from main.generate import generate

log = logging.getLogger("main.train")

REDRAW_SECONDS = 60   # training curves are drawn again when SAVE_STEP and this have passed


class Parts(NamedTuple):
    """What is trained, and with what."""

    network: nn.Module   # as the step calls it, wrapped for several devices
    criterion: nn.Module
    combiner: Combiner
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision


class Point(NamedTuple):
    """How far a run has come: the last finished epoch, and the best validation so far."""

    epoch: int = 0
    best_result: float = -1.0
    best_epoch: int = 0


def train(cfg: Config, args: argparse.Namespace) -> None:
    if cfg.DATASET.GENERATE_CAM_BASED_DATASET:
        return generate(cfg, args)
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC)
    try:
        # 1. refuse what would be lost, before anything is read
        run = build.run_directory(cfg)
        with runtime.agree():
            if runtime.is_main and not (args.ar or args.overwrite):
                run.check_free()
        # 2. data
        with runtime.agree():
            train_set, valid_set = build.build_datasets(cfg)
            loaders = build.build_loaders(cfg, train_set, valid_set, runtime)
        # 3. what is trained, and from where
        seed_globals(cfg.SEED)
        parts, point = assemble(cfg, run, args.ar, train_set, runtime)
        # 4. files
        with runtime.agree():
            if runtime.is_main:
                open_run(cfg, run, args.overwrite, point, runtime, train_set)
        # 5. epochs
        predictions, point = fit(cfg, run, parts, point, loaders, runtime)
        # 6. report
        if runtime.is_main:
            report(cfg, args, run, predictions, point, train_set)
            run.close()
    finally:
        runtime.stop()


def assemble(cfg: Config, run: Run, auto_resume: bool, train_set: ImageSet, runtime: Runtime) -> tuple[Parts, Point]:
    """Network → its weights → device → optimizer → precision → wrapper, in the only order in which this works."""
    with runtime.agree():
        network = build.build_network(cfg, train_set.num_classes)
        start = build.find_start(cfg, run, auto_resume) if runtime.is_main else None
    start = runtime.broadcast_object(start)
    with runtime.agree():
        start.load_weights(network)
    network = to_device(network, runtime, build.memory_format(cfg), cfg.TRAIN.SYNCBN)
    optimizer, schedule = build.build_optimizer(cfg, network)
    with runtime.agree():
        precision = build.build_precision(cfg, runtime.device)
        network = precision.prepare(network, optimizer)
    point = Point()
    if start.resumes:
        start.load_optimizer(optimizer)
        precision.load_state_dict(start.state.get("precision", {}))
        point = Point(*(start.state.get(name, default) for name, default in Point._field_defaults.items()))
        for key, (new, old) in cfg.differences(start.state.get("config", cfg.flat())).items():
            log.info("changed since the checkpoint: %s was %r, is %r", key, old, new)
    log.info("%s%s", start.describe(), f", going on with epoch {point.epoch + 1}" if start.resumes else "")
    with runtime.agree():
        criterion = build.build_criterion(cfg, train_set.class_counts).to(runtime.device)
        combiner = build.build_combiner(cfg, train_set.class_counts).to(runtime.device)
    return Parts(runtime.wrap(network), criterion, combiner, optimizer, schedule, precision), point


def open_run(cfg: Config, run: Run, overwrite: bool, point: Point, runtime: Runtime, train_set: ImageSet) -> None:
    if overwrite:
        run.clear()
    run.open(cfg.to_yaml(), point.epoch + 1, runtime.describe(), cfg.TRAIN.TENSORBOARD.ENABLE)
    run.record_indices(train_set.indices)
    save_figure(class_counts_figure(train_set.class_counts, train_set.class_names), run.figures / "class_counts.png")
    images = int(train_set.class_counts.sum())
    log.info("%s: %d images, %d classes, %d to %d per class", train_set.name, images, train_set.num_classes,
             train_set.class_counts.max(), train_set.class_counts.min())
    if len(train_set.labels) > images:
        log.info("%d images of CAM-based sampling added; what is made of class counts does not count them",
                 len(train_set.labels) - images)
    if train_set.class_counts.min() == 0:
        log.warning("%d classes have no training images", (train_set.class_counts == 0).sum())
    distributed = runtime.world_size > 1
    if distributed != cfg.TRAIN.DISTRIBUTED:
        log.info("TRAIN.DISTRIBUTED: %s, but there are %d processes; torchrun decides", cfg.TRAIN.DISTRIBUTED, runtime.world_size)
    if cfg.TEST.TAU_NORM.USE_TAU_NORM:
        log.info("TEST.TAU_NORM: main/valid.py normalizes; while it trains, the classifier is validated as it is")
    log.info("%s; global batch %d; files in %s", runtime.describe(), cfg.TRAIN.BATCH_SIZE * runtime.world_size, run.directory)


def fit(cfg: Config, run: Run, parts: Parts, point: Point, loaders: tuple[Loader, Loader],
        runtime: Runtime) -> tuple[Predictions, Point]:
    """Trains the epochs that are left; returns the predictions of the last one."""
    train_loader, valid_loader = loaders
    last = cfg.TRAIN.MAX_EPOCH
    progress = Progress(point.epoch + 1, last, cfg.SHOW_STEP)
    redraw = Throttle(REDRAW_SECONDS)
    predictions = None
    for epoch in range(point.epoch + 1, last + 1):
        entry = train_epoch(cfg, parts, epoch, train_loader, progress, runtime)
        predictions, is_best = None, False
        if epoch % cfg.VALID_STEP == 0 or epoch == last:
            predictions = evaluate(parts.network, valid_loader, parts.precision, runtime)
            metrics = measure(predictions, parts.criterion.class_counts.cpu())
            entry |= metrics.history_entry()
            is_best = metrics.top1 > point.best_result
            point = point._replace(best_result=metrics.top1, best_epoch=epoch) if is_best else point
        else:
            runtime.synchronise_buffers(parts.network)
        point = point._replace(epoch=epoch)
        log.info("%s", progress.line(entry))
        log_unreadable(loaders, runtime)
        if runtime.is_main:
            run.record(entry)
            run.save(snapshot(cfg, parts, point), is_best, cfg.SAVE_STEP)
            if epoch % cfg.SAVE_STEP == 0 and redraw.due():
                draw_curves(cfg, run)
    if predictions is None:   # a finished run was started again
        predictions = evaluate(parts.network, valid_loader, parts.precision, runtime)
        log_unreadable(loaders, runtime)
    return predictions, point


def train_epoch(cfg: Config, parts: Parts, epoch: int, loader: Loader, progress: Progress,
                runtime: Runtime) -> dict[str, Any]:
    """One epoch; returns its entry of the history."""
    rate = cfg.TRAIN.OPTIMIZER.BASE_LR * parts.schedule(epoch)
    seed_globals(cfg.SEED, runtime.rank, epoch)
    set_rate(parts.optimizer, rate)
    parts.criterion.on_epoch(epoch)
    loader.on_epoch(epoch)
    progress.start_epoch(epoch, len(loader), loader.num_images * runtime.world_size)
    started = time.monotonic()
    sums = train_one_epoch(parts.network, parts.criterion, parts.combiner, loader, parts.optimizer, parts.precision,
                           progress.after_batch)
    loss, accuracy = sums.means(runtime)
    seconds = time.monotonic() - started
    if not math.isfinite(loss):
        raise RunFailedError(f"epoch {epoch}: the training loss is {loss} at rate {rate:g}; {LAST} holds epoch {epoch - 1}")
    return {"epoch": epoch, "rate": rate, "train_loss": loss, "train_accuracy": accuracy, "seconds": round(seconds, 3),
            "images_per_second": round(loader.num_images * runtime.world_size / seconds, 1)}


def snapshot(cfg: Config, parts: Parts, point: Point) -> dict[str, Any]:
    """All that resuming needs. Random numbers are functions of seed, rank, epoch and batch, so no state of theirs is kept."""
    return {
        "state_dict": unwrap(parts.network).state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "precision": parts.precision.state_dict(),
        "class_counts": parts.criterion.class_counts.cpu(),
        "config": cfg.flat(),
        **point._asdict(),
    }


def draw_curves(cfg: Config, run: Run) -> None:
    stage = cfg.TRAIN.TWO_STAGE
    begins = {"second stage begins": stage.START_EPOCH + 1} if stage.DRW or stage.DRS else {}
    save_figure(training_curves(run.history(), begins), run.figures / "training_curves.png")


def report(cfg: Config, args: argparse.Namespace, run: Run, predictions: Predictions, point: Point,
           train_set: ImageSet) -> None:
    """Writes the figures and tables of the last epoch, and says where they are and what to try next."""
    draw_curves(cfg, run)
    metrics = measure(predictions, train_set.class_counts)
    paths = write_report(run.directory, predictions, metrics, train_set.class_names, train_set.class_counts,
                         {"epoch": point.epoch, "checkpoint": LAST})
    log.info("Epoch %d (last):\n%s", point.epoch, summary(metrics))
    log.info("Best epoch %d: Top1 %.2f %%, %s (selected on the validation set)",
             point.best_epoch, 100 * point.best_result, BEST)
    log.info("Confusion matrix: %s", paths["confusion_matrix"])
    validation = ["python", "main/valid.py", "--cfg", *args.cfg, "--gpus", args.gpus, *args.words]
    trick = ["bash", "data_parallel_train.sh", ",".join(args.cfg), args.gpus, *args.words,   # later words win
             "LOSS.LOSS_TYPE", "BalancedSoftmaxCE", "NAME", f"{cfg.NAME}_bsce"]
    log.info("Next:\n    %s\n    %s", shlex.join(validation), shlex.join(trick))


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--ar", type=yes_or_no, nargs="?", const=True, default=False, metavar="True",
                          help="auto resume: go on with this run from its last checkpoint")
    existing.add_argument("--overwrite", action="store_true", help="replace the run that is already in the directory")
    return run_command(train, parser, argv)


def yes_or_no(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return word.lower() == "true"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
