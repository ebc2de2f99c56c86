"""Validates a trained network: accuracies, shot groups, a table by class, and the confusion matrix.

    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus 0 TEST.MODEL_FILE best_model.pth

TEST.MODEL_FILE names the checkpoint: a file in the run's models/, or a path; by default the last epoch.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import logging
from collections.abc import Sequence

from lib.config import Config
from lib.core import build, checkpoint
from lib.core.engine import evaluate
from lib.core.metrics import class_table, measure, summary
from lib.core.report import write_report
from lib.core.run import LAST
from lib.core.runtime import Runtime, to_device
from main.command import make_parser, run_command

log = logging.getLogger("main.valid")


def validate(cfg: Config, args: argparse.Namespace) -> None:
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC)
    try:
        run = build.run_directory(cfg)
        path = run.find_model(cfg.TEST.MODEL_FILE or LAST)
        with runtime.agree():
            state = checkpoint.load(path, "TEST.MODEL_FILE")
            train_set, valid_set = build.build_datasets(cfg)
            network = build.build_network(cfg, valid_set.num_classes)
            checkpoint.load_network(network, state, f"TEST.MODEL_FILE {path}")
            _, loader = build.build_loaders(cfg, train_set, valid_set, runtime)
            precision = build.build_precision(cfg, runtime.device)
        network = runtime.wrap(to_device(network, runtime, build.memory_format(cfg), sync_batchnorm=False))
        predictions = evaluate(network, loader, precision, runtime)
        if runtime.is_main:
            metrics = measure(predictions, train_set.class_counts)
            paths = write_report(run.directory, predictions, metrics, valid_set.class_names, train_set.class_counts,
                                 {"epoch": state.get("epoch"), "checkpoint": str(path)})
            log.info("%s, epoch %s:\n%s", path, state.get("epoch", "unknown"), summary(metrics))
            log.info("By class:\n%s", class_table(metrics, valid_set.class_names))
            log.info("Written:\n%s", "\n".join(f"    {written}" for written in paths.values()))
    finally:
        runtime.stop()


def main(argv: Sequence[str]) -> int:
    return run_command(validate, make_parser(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
