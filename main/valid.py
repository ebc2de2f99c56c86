"""Validates a trained network: accuracies, shot groups, a table by class, and the confusion matrix.

    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus 0 TEST.MODEL_FILE best_model.pth
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu TEST.TAU_NORM.USE_TAU_NORM True TEST.TAU_NORM.TAU 0.5

TEST.MODEL_FILE names the checkpoint: a file in the run's models/, or a path; by default the last epoch. Results of
tau-normalization go to the run's tau_norm/, beside those of the network as it was trained; TEST.TAU_NORM.SWEEP "[0, 0.5, 1]"
compares several values.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import logging
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from torch import Tensor

from lib.config import Config
from lib.core import build, checkpoint
from lib.core.engine import evaluate_heads
from lib.core.metrics import Predictions, class_table, measure, summary
from lib.core.report import FindingsLog, write_report
from lib.core.run import LAST, Run
from lib.core.runtime import Runtime, to_device
from lib.core.tau_sweep import WARNING, sweep_table, write_sweep
from lib.dataset import ImageSet
from main.command import make_parser, run_command

log = logging.getLogger("main.valid")


def validate(cfg: Config, args: argparse.Namespace) -> None:
    with Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC) as runtime:
        run = build.run_directory(cfg)
        path = run.find_model(cfg.TEST.MODEL_FILE or LAST)
        with runtime.agree():
            state = checkpoint.load(path, "TEST.MODEL_FILE")
            train_set, valid_set = build.build_datasets(cfg, added=False)
            network = build.build_network(cfg, valid_set.num_classes)
            checkpoint.load_network(network, state, f"TEST.MODEL_FILE {path}")
            _, loader = build.build_loaders(cfg, train_set, valid_set, runtime)
            precision = build.build_precision(cfg, runtime.device)
            network = to_device(network, runtime, build.memory_format(cfg), sync_batchnorm=False)
            heads = build.build_heads(cfg, network)
        with closing(loader):
            by_head = evaluate_heads(runtime.wrap(network), list(heads.values()), loader, precision, runtime)
        FindingsLog([loader], runtime).tell()
        if not runtime.is_main:
            return
        with run.writing("the same command validates again once there is room"):
            predictions = dict(zip(heads, by_head))
            about = {"epoch": state.get("epoch"), "checkpoint": str(path)}
            report(run, predictions, about, valid_set, train_set.class_counts)
            if cfg.TEST.TAU_NORM.SWEEP:
                report_sweep(cfg, run, predictions, about, train_set.class_counts)


def report(run: Run, predictions: dict[float | None, Predictions], about: dict[str, Any], valid_set: ImageSet,
           class_counts: Tensor) -> None:
    """Reports the first of the predictions. A tau has a folder of its own, so that it does not replace the numbers of the
    network as it was trained."""
    tau, headline = next(iter(predictions.items()))
    directory, kind = run.directory, ""
    if tau is not None:
        directory, kind = run.directory / "tau_norm" / f"tau_{tau}", f", tau-normalized with tau = {tau:g}"
        about = about | {"tau": tau}
    metrics = measure(headline, class_counts)
    paths = write_report(directory, headline, metrics, valid_set.class_names, class_counts, about)
    log.info("%s, epoch %s%s:\n%s", about["checkpoint"], about["epoch"] or "unknown", kind, summary(metrics))
    log.info("By class:\n%s", class_table(metrics, valid_set.class_names))
    log_written(paths)


def report_sweep(cfg: Config, run: Run, predictions: dict[float | None, Predictions], about: dict[str, Any],
                 class_counts: Tensor) -> None:
    taus = sorted(set(map(float, cfg.TEST.TAU_NORM.SWEEP)))
    sweep = {tau: measure(predictions[tau], class_counts) for tau in taus}
    paths = write_sweep(run.directory, sweep, cfg.TEST.TAU_NORM.TAU, about, cfg.TEST.BEST_BY)
    log.info("By tau (%s):\n%s", WARNING, sweep_table(sweep, cfg.TEST.BEST_BY))
    log_written(paths)


def log_written(paths: dict[str, Path]) -> None:
    log.info("Written:\n%s", "\n".join(f"    {written}" for written in paths.values()))


def main(argv: Sequence[str]) -> int:
    return run_command(validate, make_parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
