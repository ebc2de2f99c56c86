"""The end of a training: writes the report, and suggests what to do next."""
import argparse
import logging

from lib.config import Config, add_to_name
from lib.core import build
from lib.report.metrics import BEST_BY, Metrics
from lib.report.report import Evaluated, write_report
from lib.report.tables import summary
from lib.run import checkpoint
from lib.run.own_files import MODELS
from lib.run.run import BEST, LAST, Run
from lib.run.state import Point
from lib.utils.text import shell_line
from main.evaluation import PLAIN
from main.fitting import draw_curves
from main.reporting import background

log = logging.getLogger("main.train")


def report(cfg: Config, args: argparse.Namespace, run: Run, evaluated: Evaluated, point: Point) -> None:
    """Writes the figures and tables of the last epoch; logs where they are and what to try next."""
    draw_curves(cfg, run)
    trained = checkpoint.peek(run.models / LAST).get("config", cfg.flat())   # which --ar of a finished run leaves as it was
    about = {"epoch": point.epoch, "checkpoint": LAST}
    paths = write_report(run.directory, evaluated, about, background(run, run.models / LAST, about, trained))
    log.info("Epoch %d (last):\n%s", point.epoch, summary(evaluated.metrics))
    if point.best_epoch:
        log.info("Best epoch %d: %s %.2f %%, %s (selected on the validation set)", point.best_epoch,
                 BEST_BY[cfg.TEST.BEST_BY].title, 100 * point.best_result, BEST)
    else:   # nothing was left to train, and the comparison has just started over
        log.info("Best epoch: none by %s yet, since TEST.BEST_BY has changed; %s, if it exists, was chosen by the old one",
                 BEST_BY[cfg.TEST.BEST_BY].title, run.models / BEST)
    log.info("Confusion matrix: %s", paths["confusion_matrix"])
    log.info("Report: %s", paths["page"])
    proposed = next_commands(cfg, args, is_balanced(evaluated.metrics))
    log.info("Next:%s", "".join(f"\n    {shell_line(words)}" for words in proposed))


def is_balanced(metrics: Metrics) -> bool:
    """Whether all classes with training images have equally many, so that methods for rare classes change nothing."""
    return len(set(metrics.train_images[metrics.train_images > 0].tolist())) <= 1


def next_commands(cfg: Config, args: argparse.Namespace, balanced: bool) -> list[list[str]]:
    """The commands that write the same report again, predict, and, after plain cross-entropy, train with balanced softmax."""
    same_report = ["TEST.MODEL_FILE", LAST]
    if cfg.TEST.TAU_NORM.USE_TAU_NORM:
        same_report += ["TEST.TAU_NORM.USE_TAU_NORM", "False", "TEST.TAU_NORM.SWEEP", "[]"]
    same_report += [word for key, plain in PLAIN.items() if cfg.TEST[key] != plain for word in (f"TEST.{key}", str(plain))]
    validation = ["python", "main/valid.py", "--cfg", *args.cfg, "--gpus", args.gpus, *args.words, *same_report]
    trick = ["bash", "data_parallel_train.sh", ",".join(args.cfg), args.gpus, *args.words,   # later words win
             "LOSS.LOSS_TYPE", "BalancedSoftmaxCE", "NAME", add_to_name(cfg.NAME, "_bsce")]
    plain = cfg.LOSS.LOSS_TYPE == "CrossEntropy" and not cfg.RESUME_MODEL   # which may be a name in this run's models/
    folds = bool(cfg.DATASET.FOLDER.FOLDS)   # all of them are trained alike
    own = cfg.DATASET.DATASET == "FOLDER" and not folds
    predict = ["python", "main/predict.py", str(build.run_directory(cfg).directory / MODELS / LAST), "PICTURES-OR-FOLDERS"]
    return [validation, *[predict] * own, *[trick] * (plain and not folds and not balanced)]
