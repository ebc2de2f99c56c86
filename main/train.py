"""Trains one configuration and reports accuracy, shot groups and the confusion matrix of the last epoch.

    python main/train.py --folder /data/birds --gpus cpu
    python main/train.py --folder /data/birds --weights torchvision:resnet50 --minutes 30
    python main/train.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/train.py --cfg configs/test/digits_lt.yaml --gpus 0 LOSS.LOSS_TYPE BalancedSoftmaxCE NAME digits_bsce
    bash data_parallel_train.sh configs/test/data_parallel.yaml 0,1
    bash distributed_data_parallel_train.sh configs/test/distributed_data_parallel.yaml 2 0,1

A run that was interrupted, or killed, goes on with --ar True, and ends as if it had never been.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from lib.config import Config, add_to_name, doubt_steps, doubts
from lib.config.auto import complete, usual
from lib.config.preparation import preprocessing
from lib.core import build
from lib.dataset import ImageSet, absent_classes, shorten_names
from lib.device.runtime import Runtime, to_device
from lib.engine.batchnorm import check_batches
from lib.engine.interruption import Watch
from lib.engine.progress import Progress
from lib.engine.step import EagerStep, Loader, Sums, evaluate, has_finite_weights, set_rate, train_one_epoch
from lib.report.figures import class_counts_figure, training_curves
from lib.report.metrics import BEST_BY, measure
from lib.report.predictions import Predictions
from lib.report.report import Evaluated, write_report
from lib.report.style import save_figure
from lib.report.tables import summary
from lib.run import checkpoint
from lib.run.checkpoint import Start
from lib.run.findings import FindingsLog
from lib.run.identity import Identity, check_same_data, load_start
from lib.run.own_files import MODELS
from lib.run.resume import check_part
from lib.run.run import BEST, LAST, Run
from lib.utils.progress import Throttle
from lib.utils.seed import seed_globals
from lib.utils.text import count, shell_line
from main.claim import (
    RESUME,
    TEACHER,
    WRITTEN_OVER,
    Claim,
    check_images,
    check_length,
    claim,
    log_changes,
    log_choice,
    replaced,
)
from main.command import make_parser, run_command, warn
from main.final_test import test_once
from main.folds import Outcome, train_folds
from main.front_door import add_options
from main.generate import generate
from main.look import look
from main.reporting import background, shot_bounds
from main.session import Parts, Pause, Point, epoch_rate, snapshot
from main.settle import settle

log = logging.getLogger("main.train")

LOCAL_KEYS = ("OUTPUT_DIR", "DATASET.ROOT", "DATASET.FOLDER.CACHE", "DATASET.FOLDER.SPLIT", "TRAIN.NUM_WORKERS",
              "TRAIN.NUM_THREADS", "TEST.NUM_WORKERS")   # a machine's own
VALID = 1             # place of the validation set's loader
REDRAW_SECONDS = 60   # training curves are drawn again when SAVE_STEP and this have passed


def train(cfg: Config, args: argparse.Namespace) -> None:
    if cfg.DATASET.GENERATE_CAM_BASED_DATASET:
        return generate(complete(cfg, build.run_directory(cfg).directory), args)
    with Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC) as runtime:
        if args.folds is None:
            train_run(cfg, args, runtime)
        else:
            train_folds(cfg, args, runtime, train_run)


def train_run(cfg: Config, args: argparse.Namespace, runtime: Runtime) -> Outcome:
    """Everything from the data to the report."""
    with build.run_directory(cfg) as run, ExitStack() as at_the_end:
        # 1. refuse what would be lost, before anything is read
        runtime.check_equal("configurations", {key: value for key, value in cfg.flat().items() if key not in LOCAL_KEYS})
        chosen, told = Claim(), []
        with runtime.agree():
            if runtime.is_main:
                chosen = claim(cfg, args, run, runtime)
                told = doubts(usual(cfg))
                warn(told)
        # 2. data
        seen = look(cfg, run, chosen.keeps, runtime)
        with runtime.agree():
            train_set, valid_set = build.build_datasets(cfg, assignment=seen.assignment)
            test_set = build.build_test_set(cfg, train_set, seen.assignment)
            if runtime.is_main:
                read = [images for images in (train_set, valid_set, test_set) if images is not None]
                check_images(chosen.lost(run), read)
                check_images(replaced(cfg, run), read, WRITTEN_OVER)
        cfg = settle(cfg, run, chosen.keeps, (train_set, valid_set), runtime, args.started)
        with runtime.agree():
            loaders = build.build_loaders(cfg, train_set, valid_set, runtime)
            if runtime.is_main:
                late = [*doubts(cfg), *doubt_steps(cfg, len(loaders[0]), len(train_set.labels), runtime.world_size)]
                warn([line for line in late if line not in told])
        given = [loader for loader in loaders if loader is not None]
        for loader in given:
            at_the_end.callback(loader.close)
        identity = Identity.of(train_set, valid_set, preprocessing(cfg, train_set))
        runtime.check_equal("data", identity.facts())
        if valid_set is not None and (absent := absent_classes(valid_set)):
            log.info("%s: %s no images, and no part in balanced accuracy: %s", valid_set.name,
                     count(len(absent), "class has", "classes have"), shorten_names(absent))
        # 3. what is trained, and from where
        seed_globals(cfg.SEED)
        parts, point = assemble(cfg, run, chosen, identity, runtime, loaders[0].digest)
        with runtime.agree():
            check_batches(parts.network, loaders[0], tuple(cfg.INPUT_SIZE), runtime)
        # 4. files
        with runtime.agree():
            if runtime.is_main:
                with run.writing():
                    open_run(cfg, run, chosen, point, runtime, train_set)
                    seen.write(run)
        if cfg.AUTO:   # what was chosen is there
            args.cfg, args.words = [str(run.directory / "config.yaml")], []
        # 5. epochs
        findings = FindingsLog(given, runtime)
        predictions, point = fit(cfg, run, parts, point, (loaders, findings), runtime)
        # 6. the test images, and the report
        test_once(cfg, run, parts, point.epoch, test_set, runtime)
        if runtime.is_main:
            with run.writing():
                if predictions is None:
                    draw_curves(cfg, run)
                    log.info("Epoch %d (last): %s; no images are held out for validation, so there is no report", point.epoch,
                             run.models / LAST)
                else:
                    metrics = measure(predictions, train_set.class_counts, shot_bounds(cfg))
                    report(cfg, args, run, Evaluated(predictions, metrics, valid_set, findings.unreadable(VALID)), point)
        return Outcome(predictions, valid_set, train_set.class_counts, seen.assignment)


def assemble(cfg: Config, run: Run, chosen: Claim, identity: Identity, runtime: Runtime,
             plan: Callable[[int], str]) -> tuple[Parts, Point]:
    """Network → its weights → device → optimizer → precision → wrapper, in the only order in which this works.

    Args:
        plan: epoch to a text that is equal where its batches are.
    """
    with runtime.agree():
        network = build.build_network(cfg, len(identity.class_names))

        def check(start: Start) -> None:
            if start.resumes:
                check_same_data(start, identity)
            check_part(start, plan, runtime.world_size)

        def accept(start: Start) -> None:
            check(start)
            start.check_weights(network)

        start = build.find_start(cfg, run, chosen.goes_on, accept) if runtime.is_main else None
        if runtime.is_main:
            check(start)
            log_choice(cfg, run, chosen, start)
    start = runtime.broadcast_object(start)
    with runtime.agree():
        load_start(network, start, identity)
    network = to_device(network, runtime, build.memory_format(cfg), cfg.TRAIN.SYNCBN)
    optimizer, schedule = build.build_optimizer(cfg, network)
    with runtime.agree():
        precision = build.build_precision(cfg, runtime.device)
        network = precision.prepare(network, optimizer)
    point = Point(best_by=cfg.TEST.BEST_BY)
    if start.resumes:
        with runtime.agree():
            start.load_optimizer(optimizer, network)
        precision.load_state_dict(start.state.get("precision", {}))
        point = Point(*(start.state.get(name, default) for name, default in Point._field_defaults.items()))
        run.kept = f"{start.source} holds epoch {point.epoch}" + f" and {point.batch} batches of the next" * (point.batch > 0)
        with runtime.agree():
            if runtime.is_main:
                log_changes(cfg, start, runtime)
                check_length(cfg, start, point, own=chosen.rewinds_to is not None or RESUME not in start.source)
                point = point.compared_by(cfg.TEST.BEST_BY, chosen.best_epoch_held(run))
        point = runtime.broadcast_object(point)
    batch = f", batch {point.batch + 1}" if point.batch else ""
    log.info("%s%s", start.describe(), f", going on with epoch {point.epoch + 1}{batch}" if start.resumes else "")
    with runtime.agree():
        criterion = build.build_criterion(cfg, identity.class_counts).to(runtime.device)
        combiner = build.build_combiner(cfg, identity.class_counts, identity).to(runtime.device)
    if runtime.is_main and start.resumes and start.state.get("combiner", combiner.origin()) != combiner.origin():
        log.warning("changed since the checkpoint: %s holds other weights, from which the epochs to come learn", TEACHER)
    network = runtime.wrap(network)
    with runtime.agree():
        step = build.build_step(cfg, EagerStep(network, criterion, combiner, optimizer, precision), runtime)
    return Parts(network, criterion, combiner, optimizer, schedule, precision, step, identity), point


def open_run(cfg: Config, run: Run, chosen: Claim, point: Point, runtime: Runtime, train_set: ImageSet) -> None:
    if not run.claimed:   # the directory was not there before
        run.lock()
        if not chosen.replaces:
            run.check_free()   # but another process may have been here meanwhile
    chosen.clear(cfg, run)
    run.open(cfg.to_yaml(), point.epoch + 1, runtime.describe(), cfg.TRAIN.TENSORBOARD.ENABLE)
    run.record_indices(train_set.indices)
    save_figure(class_counts_figure(train_set.class_counts, train_set.class_names, shot_bounds(cfg)),
                run.figures / "class_counts.png")
    images = int(train_set.class_counts.sum())
    log.info("%s: %d images, %d classes, %d to %d per class", train_set.name, images, train_set.num_classes,
             train_set.class_counts.max(), train_set.class_counts.min())
    if len(train_set.labels) > images:
        log.info("%d images of CAM-based sampling added; what is made of class counts does not count them",
                 len(train_set.labels) - images)
    if train_set.class_counts.min() == 0:
        absent = absent_classes(train_set)
        log.warning("%s no training images: %s", count(len(absent), "class has", "classes have"), shorten_names(absent))
    distributed = runtime.world_size > 1
    if distributed != cfg.TRAIN.DISTRIBUTED:
        log.info("TRAIN.DISTRIBUTED: %s, but there are %d processes; torchrun decides", cfg.TRAIN.DISTRIBUTED, runtime.world_size)
    if cfg.TEST.TAU_NORM.USE_TAU_NORM:
        log.info("TEST.TAU_NORM: main/valid.py normalizes; while it trains, the classifier is validated as it is")
    log.info("%s; global batch %d; files in %s", runtime.describe(), cfg.TRAIN.BATCH_SIZE * runtime.world_size, run.directory)


def fit(cfg: Config, run: Run, parts: Parts, point: Point, reading: tuple[tuple[Loader, Loader | None], FindingsLog],
        runtime: Runtime) -> tuple[Predictions | None, Point]:
    """Trains the epochs that are left; returns the predictions of the last one, where there are images for validation.

    Args:
        reading: the loaders of training and validation, and the log of what is found in their images.
    """
    (train_loader, valid_loader), findings = reading
    last = cfg.TRAIN.MAX_EPOCH
    progress = Progress(point.epoch + point.batch / len(train_loader), last, cfg.SHOW_STEP)
    redraw = Throttle(REDRAW_SECONDS)
    validates = valid_loader is not None
    shared = min(runtime.gather_objects(len(valid_loader))) if validates else 0   # batches of validation that every rank has
    findings.tell()   # of images that are in memory
    predictions = None
    with Watch(runtime, cfg.TRAIN.CHECKPOINT_MINUTES) as watch:
        for _ in range(point.epoch, last):
            with Pause(cfg, run, parts, point, runtime, watch, train_loader) as pause:
                entry, sums = train_epoch(cfg, parts, point, train_loader, progress, runtime, pause)
                predictions, is_best = None, False
                if validates and (entry["epoch"] % cfg.VALID_STEP == 0 or entry["epoch"] == last):
                    predictions = evaluate(parts.network, valid_loader, parts.precision, runtime,
                                           lambda number, pause=pause, sums=sums: pause(sums) if number <= shared else None,
                                           parts.criterion.evaluation_scale)
            if predictions is not None:
                metrics = measure(predictions, parts.criterion.class_counts.cpu(), shot_bounds(cfg))
                entry |= metrics.history_entry()
                point = point.judge(entry["epoch"], metrics.score(cfg.TEST.BEST_BY))
                is_best = point.best_epoch == entry["epoch"]
            else:
                runtime.synchronise_buffers(parts.network)
            point = point.finish_epoch()
            log.info("%s", progress.line(entry))
            findings.tell()
            if runtime.is_main:
                run.record(entry)
                run.save(snapshot(cfg, parts, point, runtime), is_best, cfg.SAVE_STEP)
                if point.epoch % cfg.SAVE_STEP == 0 and redraw.due():
                    with run.writing():
                        draw_curves(cfg, run)
            watch.restart_clock()
    if validates and predictions is None:   # a finished run was started again
        predictions = evaluate(parts.network, valid_loader, parts.precision, runtime, scale=parts.criterion.evaluation_scale)
    findings.sum_up()
    return predictions, point


def train_epoch(cfg: Config, parts: Parts, point: Point, loader: Loader, progress: Progress, runtime: Runtime,
                pause: Pause) -> tuple[dict[str, Any], Sums]:
    """The epoch after ``point``, or what is left of it; returns its entry of the history, and its totals."""
    epoch = point.epoch + 1
    rate = epoch_rate(cfg, parts, epoch)
    set_rate(parts.optimizer, rate)
    parts.criterion.on_epoch(epoch)
    loader.on_epoch(epoch, point.batch)
    progress.start_epoch(epoch, len(loader), loader.num_images * runtime.world_size, point.seconds)
    sums = Sums(loader.device)
    if point.totals is not None:
        sums.restore(point.totals[runtime.rank], point.batch)

    def after_batch(sums: Sums) -> None:
        progress.after_batch(sums)
        pause(sums, progress.broken)

    train_one_epoch(parts.step, loader, after_batch, sums)
    means = sums.means(runtime)
    seconds = pause.seconds()
    if not math.isfinite(means.loss) or not has_finite_weights(parts.network):
        pause.fail(sums)
    entry = {"epoch": epoch, "rate": rate, "train_loss": means.loss, "train_accuracy": means.accuracy,
             "seconds": round(seconds, 3), "images_per_second": round(loader.num_images * runtime.world_size / seconds, 1)}
    return entry | ({"skipped_steps": means.skipped_steps} if parts.precision.mixed else {}), sums


def draw_curves(cfg: Config, run: Run) -> None:
    stage = cfg.TRAIN.TWO_STAGE
    begins = {"second stage begins": stage.START_EPOCH + 1} if stage.DRW or stage.DRS else {}
    save_figure(training_curves(run.history(), begins, cfg.TEST.BEST_BY), run.figures / "training_curves.png")


def report(cfg: Config, args: argparse.Namespace, run: Run, evaluated: Evaluated, point: Point) -> None:
    """Writes the figures and tables of the last epoch, and says where they are and what to try next."""
    draw_curves(cfg, run)
    trained = checkpoint.peek(run.models / LAST).get("config", cfg.flat())   # which --ar of a finished run leaves as it was
    about = {"epoch": point.epoch, "checkpoint": LAST}
    paths = write_report(run.directory, evaluated, about, background(run, run.models / LAST, about, trained))
    log.info("Epoch %d (last):\n%s", point.epoch, summary(evaluated.metrics))
    if point.best_epoch:
        log.info("Best epoch %d: %s %.2f %%, %s (selected on the validation set)", point.best_epoch,
                 BEST_BY[cfg.TEST.BEST_BY].title, 100 * point.best_result, BEST)
    else:   # nothing was left to train, and the comparison has just started over
        log.info("Best epoch: none by %s, since it was compared by before; %s is of that, if it is there",
                 BEST_BY[cfg.TEST.BEST_BY].title, run.models / BEST)
    log.info("Confusion matrix: %s", paths["confusion_matrix"])
    log.info("Report: %s", paths["page"])
    log.info("Next:%s", "".join(f"\n    {shell_line(words)}" for words in next_commands(cfg, args)))


def next_commands(cfg: Config, args: argparse.Namespace) -> list[list[str]]:
    """One that makes the same report again, one that predicts, and one that tries a trick, if the run was plain."""
    same_report = ["TEST.MODEL_FILE", LAST]
    if cfg.TEST.TAU_NORM.USE_TAU_NORM:
        same_report += ["TEST.TAU_NORM.USE_TAU_NORM", "False", "TEST.TAU_NORM.SWEEP", "[]"]
    validation = ["python", "main/valid.py", "--cfg", *args.cfg, "--gpus", args.gpus, *args.words, *same_report]
    trick = ["bash", "data_parallel_train.sh", ",".join(args.cfg), args.gpus, *args.words,   # later words win
             "LOSS.LOSS_TYPE", "BalancedSoftmaxCE", "NAME", add_to_name(cfg.NAME, "_bsce")]
    plain = cfg.LOSS.LOSS_TYPE == "CrossEntropy" and not cfg.RESUME_MODEL   # which may be a name in this run's models/
    folds = bool(cfg.DATASET.FOLDER.FOLDS)   # all of them are trained alike
    own = cfg.DATASET.DATASET == "FOLDER" and not folds
    predict = ["python", "main/predict.py", str(build.run_directory(cfg).directory / MODELS / LAST), "PICTURES-OR-FOLDERS"]
    return [validation, *[predict] * own, *[trick] * (plain and not folds)]


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__, needs_cfg=False)
    add_options(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--ar", type=yes_or_no, nargs="?", const=True, default=False, metavar="True",
                          help="auto resume: go on with this run from its last checkpoint")
    existing.add_argument("--overwrite", action="store_true", help="replace the run that is already in the directory")
    parser.add_argument("--folds", type=int, metavar="K", help="train K runs, each of which validates another part of "
                        "DATASET.ROOT (DATASET.DATASET FOLDER), and report over all images")
    return run_command(train, parser, argv)


def yes_or_no(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return word.lower() == "true"


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
