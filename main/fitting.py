"""The epochs of a training."""
import logging
import math
from collections.abc import Callable
from typing import Any

from lib.config import Config
from lib.dataset import Loader
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.interruption import Watch
from lib.engine.progress import Progress
from lib.engine.step import has_finite_weights, set_rate
from lib.engine.totals import Sums
from lib.engine.training import Training
from lib.report.figures import training_curves
from lib.report.metrics import measure
from lib.report.predictions import Predictions
from lib.report.style import save_figure
from lib.run.findings import FindingsLog
from lib.run.identity import Identity
from lib.run.run import Run
from lib.run.state import Point, snapshot
from lib.utils.progress import Throttle
from main.reporting import shot_bounds
from main.session import Pause, epoch_rate

log = logging.getLogger("main.train")

REDRAW_SECONDS = 60   # training curves are drawn again when SAVE_STEP and this have passed


def fit(cfg: Config, run: Run, training: Training, point: Point, reading: tuple[tuple[Loader, Loader | None], FindingsLog],
        identity: Identity, runtime: Runtime) -> tuple[Predictions | None, Point]:
    """Trains the remaining epochs; returns the predictions of the last one if there are validation images.

    Args:
        reading: the loaders of training and validation, and the log of the findings in their images.
    """
    (train_loader, valid_loader), findings = reading
    last = cfg.TRAIN.MAX_EPOCH
    progress = Progress(point.epoch + point.batch / len(train_loader), last, cfg.SHOW_STEP)
    redraw = Throttle(REDRAW_SECONDS)
    # batches of validation that every rank has
    shared = 0 if valid_loader is None else min(runtime.gather_objects(len(valid_loader)))
    findings.tell()   # of images that are in memory
    predictions = None
    with Watch(runtime, cfg.TRAIN.CHECKPOINT_MINUTES) as watch:
        for _ in range(point.epoch, last):
            with Pause(cfg, run, training, point, runtime, watch, train_loader, identity) as pause:
                entry, sums = train_epoch(cfg, training, point, train_loader, progress, runtime, pause)
                predictions, is_best = None, False
                if valid_loader is not None and (entry["epoch"] % cfg.VALID_STEP == 0 or entry["epoch"] == last):
                    predictions = training.evaluate(valid_loader, runtime, between(pause, sums, shared))
            if predictions is not None:
                metrics = measure(predictions, identity.class_counts, shot_bounds(cfg))
                entry |= metrics.history_entry()
                point = point.judge(entry["epoch"], metrics.score(cfg.TEST.BEST_BY))
                is_best = point.best_epoch == entry["epoch"]
            else:
                runtime.synchronise_buffers(training.network)
            point = point.finish_epoch()
            log.info("%s", progress.line(entry))
            findings.tell()
            if runtime.is_main:
                run.record(entry)
                run.save(snapshot(training, point, train_loader, identity, cfg.flat(), runtime), is_best, cfg.SAVE_STEP)
                if point.epoch % cfg.SAVE_STEP == 0 and redraw.due():
                    with run.writing():
                        draw_curves(cfg, run)
            watch.restart_clock()
    if valid_loader is not None and predictions is None:   # a finished run was started again
        predictions = training.evaluate(valid_loader, runtime)
    findings.sum_up()
    return predictions, point


def between(pause: Pause, sums: Sums, shared: int) -> Callable[[int], None]:
    """Returns what is called between two validation batches; every rank has ``shared`` of them."""
    def after_batch(number: int) -> None:
        if number <= shared:
            pause(sums)

    return after_batch


def train_epoch(cfg: Config, training: Training, point: Point, loader: Loader, progress: Progress, runtime: Runtime,
                pause: Pause) -> tuple[dict[str, Any], Sums]:
    """Trains the epoch after ``point``, or the rest of it; returns its history entry and its totals."""
    epoch = point.epoch + 1
    rate = epoch_rate(cfg, training, epoch)
    set_rate(training.optimizer, rate)
    parts = training.parts(loader).values()
    for part in parts:
        part.on_epoch(epoch)
    loader.on_epoch(epoch, point.batch)
    progress.start_epoch(epoch, len(loader), loader.num_images * runtime.world_size, point.seconds)
    sums = Sums(loader.device)
    if point.totals is not None:
        sums.restore(point.totals[runtime.rank], point.batch)

    def after_batch(sums: Sums) -> None:
        progress.after_batch(sums)
        pause(sums, progress.broken)

    if point.batch == 0:
        training.before_epoch(loader, runtime, epoch)
    train_one_epoch(training.step, loader, after_batch, sums, parts)
    for part in parts:
        part.after_epoch()
    means = sums.means(runtime)
    seconds = pause.seconds()
    if not math.isfinite(means.loss) or not has_finite_weights(training.network):
        pause.fail(sums)
    entry = {"epoch": epoch, "rate": rate, "train_loss": means.loss, "train_accuracy": means.accuracy,
             "seconds": round(seconds, 3), "images_per_second": round(loader.num_images * runtime.world_size / seconds, 1)}
    return entry | ({"skipped_steps": means.skipped_steps} if training.precision.scales else {}), sums


def draw_curves(cfg: Config, run: Run) -> None:
    stage = cfg.TRAIN.TWO_STAGE
    begins = {"second stage begins": stage.START_EPOCH + 1} if stage.DRW or stage.DRS else {}
    save_figure(training_curves(run.history(), begins, cfg.TEST.BEST_BY), run.figures / "training_curves.png")
