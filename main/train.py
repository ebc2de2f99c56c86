"""Trains one configuration and reports accuracy, shot groups and the confusion matrix of the last epoch.

    python main/train.py --folder /data/birds --gpus cpu
    python main/train.py --folder /data/birds --weights torchvision:resnet50 --minutes 30
    python main/train.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/train.py --cfg configs/test/digits_lt.yaml --gpus 0 LOSS.LOSS_TYPE BalancedSoftmaxCE NAME digits_bsce
    bash data_parallel_train.sh configs/test/data_parallel.yaml 0,1
    bash distributed_data_parallel_train.sh configs/test/distributed_data_parallel.yaml 2 0,1

Resume a run that was interrupted or killed with --ar True; its results are the same as without the interruption.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
from collections.abc import Sequence
from contextlib import ExitStack

from lib.config import Config, doubt_steps, doubts
from lib.config.auto import complete, usual
from lib.config.preparation import preprocessing
from lib.core import build
from lib.dataset import absent_classes, shorten_names
from lib.device.runtime import Runtime
from lib.engine.batchnorm import check_batches
from lib.report.metrics import measure
from lib.report.report import Evaluated
from lib.run.findings import FindingsLog
from lib.run.identity import Identity
from lib.run.run import LAST
from lib.utils.seed import seed_globals
from lib.utils.text import count
from main.claim import WRITTEN_OVER, Claim, check_images, claim, replaced
from main.command import make_parser, run_command, warn
from main.ending import report
from main.final_test import test_once
from main.fitting import draw_curves, fit
from main.folds import Outcome, train_folds
from main.front_door import add_options
from main.generate import generate
from main.look import look
from main.opening import open_run, start_training
from main.reporting import shot_bounds
from main.settle import settle

log = logging.getLogger("main.train")

LOCAL_KEYS = ("OUTPUT_DIR", "DATASET.ROOT", "DATASET.FOLDER.CACHE", "DATASET.FOLDER.SPLIT", "TRAIN.NUM_WORKERS",
              "TRAIN.NUM_THREADS", "TEST.NUM_WORKERS")   # a machine's own
VALID = 1             # place of the validation set's loader


def train(cfg: Config, args: argparse.Namespace) -> None:
    if cfg.DATASET.GENERATE_CAM_BASED_DATASET:
        return generate(complete(cfg, build.run_directory(cfg).directory), args)
    with Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC) as runtime:
        if args.folds is None:
            train_run(cfg, args, runtime)
        else:
            train_folds(cfg, args, runtime, train_run)


def train_run(cfg: Config, args: argparse.Namespace, runtime: Runtime) -> Outcome:
    """Trains one run: everything from the data to the report."""
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
            log.info("%s: %s no images, so they are not included in balanced accuracy: %s", valid_set.name,
                     count(len(absent), "class has", "classes have"), shorten_names(absent))
        # 3. what is trained, and from where
        seed_globals(cfg.SEED)
        training, point = start_training(cfg, run, chosen, identity, runtime, loaders[0])
        with runtime.agree():
            check_batches(training.network, loaders[0], tuple(cfg.INPUT_SIZE), runtime)
        # 4. files
        with runtime.agree():
            if runtime.is_main:
                with run.writing():
                    open_run(cfg, run, chosen, point, runtime, train_set, training.precision.name)
                    seen.write(run)
        if cfg.AUTO:   # what was chosen is there
            args.cfg, args.words = [str(run.directory / "config.yaml")], []
        # 5. epochs
        findings = FindingsLog(given, runtime)
        predictions, point = fit(cfg, run, training, point, (loaders, findings), identity, runtime)
        # 6. the test images, and the report
        test_once(cfg, run, training, test_set, runtime, epoch=point.epoch, class_counts=train_set.class_counts)
        if runtime.is_main:
            with run.writing():
                if predictions is None or valid_set is None:
                    draw_curves(cfg, run)
                    log.info("Epoch %d (last): %s; no images are held out for validation, so there is no report", point.epoch,
                             run.models / LAST)
                else:
                    metrics = measure(predictions, train_set.class_counts, shot_bounds(cfg))
                    report(cfg, args, run, Evaluated(predictions, metrics, valid_set, findings.unreadable(VALID)), point)
        return Outcome(predictions, valid_set, train_set.class_counts, seen.assignment)


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__, needs_cfg=False)
    add_options(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--ar", type=yes_or_no, nargs="?", const=True, default=False, metavar="True",
                          help="auto resume: continue this run from its last checkpoint")
    existing.add_argument("--overwrite", action="store_true", help="replace an existing run in the directory")
    parser.add_argument("--folds", type=int, metavar="K", help="K-fold cross-validation: train K runs, each "
                        "validated on another part of DATASET.ROOT (DATASET.DATASET FOLDER), and report over all images")
    return run_command(train, parser, argv)


def yes_or_no(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} must be True or False")
    return word.lower() == "true"


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
