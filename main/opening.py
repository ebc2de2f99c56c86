"""The start of a training: its initial weights and the files of its run."""
import logging
from typing import Any

from lib.config import Config
from lib.core import build
from lib.core.assemble import assemble
from lib.dataset import ImageSet, Loader, absent_classes, shorten_names
from lib.device.runtime import Runtime
from lib.engine.training import Training
from lib.net import Network
from lib.report.figures import class_counts_figure
from lib.report.style import save_figure
from lib.run.checkpoint import Start
from lib.run.identity import Identity, check_same_data
from lib.run.resume import check_part
from lib.run.run import Run
from lib.run.state import Point
from lib.utils.text import count
from main.claim import RESUME, TEACHER, Claim, check_length, log_changes, log_choice
from main.reporting import shot_bounds

log = logging.getLogger("main.train")


def start_training(cfg: Config, run: Run, chosen: Claim, identity: Identity, runtime: Runtime,
                   loader: Loader) -> tuple[Training, Point]:
    """Builds the training with its initial weights and states; returns it with the position in the training."""
    def check(start: Start) -> None:
        if start.resumes:
            check_same_data(start, identity)
        check_part(start, loader.digest, runtime.world_size)

    def choose(network: Network) -> Start:
        def accept(start: Start) -> None:
            check(start)
            start.check_weights(network)

        start = build.find_start(cfg, run, chosen.goes_on, accept)
        check(start)
        log_choice(cfg, run, chosen, start)
        return start

    training, start = assemble(cfg, identity, runtime, loader, choose)
    point = Point(best_by=cfg.TEST.BEST_BY)
    if start.resumes:
        known: dict[str, Any] = {name: start.state.get(name, default) for name, default in Point._field_defaults.items()}
        point = Point(**known)
        run.kept = f"{start.source} holds epoch {point.epoch}" + f" and {point.batch} batches of the next" * (point.batch > 0)
        with runtime.agree():
            if runtime.is_main:
                log_changes(cfg, start, runtime)
                check_length(cfg, start, point, own=chosen.rewinds_to is not None or RESUME not in start.source)
                point = point.compared_by(cfg.TEST.BEST_BY, chosen.best_epoch_held(run))
        point = runtime.broadcast_object(point)
    batch = f", batch {point.batch + 1}" if point.batch else ""
    log.info("%s%s", start.describe(), f", resuming with epoch {point.epoch + 1}{batch}" if start.resumes else "")
    origin = training.combiner.origin()
    if runtime.is_main and start.resumes and start.state.get("combiner", origin) != origin:
        log.warning("changed since the checkpoint: %s has other weights, which the remaining epochs use", TEACHER)
    return training, point


def open_run(cfg: Config, run: Run, chosen: Claim, point: Point, runtime: Runtime, train_set: ImageSet,
             precision: str) -> None:
    if not run.claimed:   # the directory was not there before
        run.lock()
        if not chosen.replaces:
            run.check_free()   # but another process may have been here meanwhile
    chosen.clear(cfg, run)
    run.open(cfg.to_yaml(), point.epoch + 1, runtime.describe(), cfg.TRAIN.TENSORBOARD.ENABLE, precision)
    run.record_indices(train_set.indices)
    save_figure(class_counts_figure(train_set.class_counts, train_set.class_names, shot_bounds(cfg)),
                run.figures / "class_counts.png")
    images = int(train_set.class_counts.sum())
    log.info("%s: %d images, %d classes, %d to %d per class", train_set.name, images, train_set.num_classes,
             train_set.class_counts.max(), train_set.class_counts.min())
    if len(train_set.labels) > images:
        log.info("%d images of CAM-based sampling added; class counts do not include them",
                 len(train_set.labels) - images)
    if train_set.class_counts.min() == 0:
        absent = absent_classes(train_set)
        log.warning("%s no training images: %s", count(len(absent), "class has", "classes have"), shorten_names(absent))
    distributed = runtime.world_size > 1
    if distributed != cfg.TRAIN.DISTRIBUTED:
        log.info("TRAIN.DISTRIBUTED: is %s, but the number of processes is %d; torchrun decides", cfg.TRAIN.DISTRIBUTED,
                 runtime.world_size)
    if cfg.TEST.TAU_NORM.USE_TAU_NORM:
        log.info("TEST.TAU_NORM: used by main/valid.py only; training validates the classifier without it")
    if cfg.TEST.LOGIT_ADJUST or cfg.TEST.PRIOR:
        log.info("TEST.LOGIT_ADJUST, TEST.PRIOR: used by main/valid.py only; training validates the logits without adjustment")
    log.info("%s, %s; global batch %d; files in %s", runtime.describe(), precision, cfg.TRAIN.BATCH_SIZE * runtime.world_size,
             run.directory)
