"""Validates a trained network: accuracies, shot groups, a table by class, and the confusion matrix.

    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus 0 TEST.MODEL_FILE best_model.pth
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu TEST.TAU_NORM.USE_TAU_NORM True TEST.TAU_NORM.TAU 0.5

TEST.MODEL_FILE names the checkpoint: a file in the run's models/, or a path; by default the last epoch. Of that, with data and
settings as in training, the run's own report is made again. Any other evaluation has a folder in evaluations/, and says what
differs. Results of tau-normalization go to tau_norm/, beside those of the network as it was trained; TEST.TAU_NORM.SWEEP
"[0, 0.5, 1]" compares several values.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from torch import Tensor

from lib.config import Config, data_doubts
from lib.config.auto import complete
from lib.config.preparation import preprocessing
from lib.core import build
from lib.device.runtime import Runtime, to_device
from lib.engine.evaluation import evaluate_heads
from lib.report.metrics import measure
from lib.report.predictions import Predictions
from lib.report.report import Evaluated, write_report
from lib.report.tables import class_table, summary
from lib.report.tau_sweep import WARNING, sweep_table, write_sweep
from lib.run import checkpoint
from lib.run.findings import FindingsLog
from lib.run.identity import Identity, align_to_checkpoint
from lib.run.run import LAST
from main.command import make_parser, run_command, warn
from main.evaluation import Evaluation, check_report, identify
from main.final_test import count_look, identify_test
from main.look import look
from main.reporting import background, shot_bounds

log = logging.getLogger("main.valid")


def validate(cfg: Config, args: argparse.Namespace) -> None:
    with Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC) as runtime:
        run = build.run_directory(cfg)
        cfg = complete(cfg, run.directory)
        path = run.find_model(cfg.TEST.MODEL_FILE or LAST)
        if runtime.is_main:
            warn(data_doubts(cfg))
        with runtime.agree():
            state = checkpoint.load(path, "TEST.MODEL_FILE")
        seen = look(cfg, run, True, runtime, evaluates=True)
        with runtime.agree():
            train_set, valid_set = build.build_datasets(cfg, added=False, assignment=seen.assignment)
            images = build.choose_part(cfg, train_set, valid_set, seen.assignment)
            sets = list(dict.fromkeys(filter(None, (train_set, valid_set, images))))
            align_to_checkpoint(state, sets, f"TEST.MODEL_FILE {path}")
            network = build.build_network(cfg, images.num_classes)
            checkpoint.load_network(network, state, f"TEST.MODEL_FILE {path}")
            evaluation: Evaluation | None = None
            if runtime.is_main:
                here = Identity.of(train_set, valid_set, preprocessing(cfg, images))
                evaluation = (identify_test if cfg.TEST.PART == "test" else identify)(cfg, run, path, state, here)
                check_report(cfg, run, evaluation, [one for one in (train_set, valid_set, images) if one is not None])
            loader = build.build_eval_loader(cfg, images, runtime)
            precision = build.build_precision(cfg, runtime.device)
            network = to_device(network, runtime, build.memory_format(cfg), sync_batchnorm=False)
            heads = build.build_heads(cfg, network, build.build_criterion(cfg, train_set.class_counts).evaluation_scale)
        with closing(loader):
            by_head = evaluate_heads(runtime.wrap(network), list(heads.values()), loader, precision, runtime)
        findings = FindingsLog([loader], runtime)
        findings.tell()
        if evaluation is None:   # not rank 0
            return
        with run.writing("the same command validates again once there is room"):
            predictions = dict(zip(heads, by_head))
            title = f"{path}, epoch {state.get('epoch') or 'unknown'}"
            if cfg.TEST.PART == "test":
                evaluation = count_look(cfg, run, evaluation, images)
            tau, headline = next(iter(predictions.items()))
            metrics = measure(headline, train_set.class_counts, shot_bounds(cfg))
            evaluated = Evaluated(headline, metrics, images, findings.unreadable(0))
            about = evaluation.about | ({} if tau is None else {"tau": tau})
            paths = write_report(evaluation.directory(tau), evaluated, about, background(run, path, about, trained_by(state)))
            log.info("%s%s:\n%s", title, "" if tau is None else f", tau-normalized with tau = {tau:g}", summary(metrics))
            log.info("By class:\n%s", class_table(metrics, images.class_names))
            log_written(paths)
            if cfg.TEST.TAU_NORM.SWEEP:
                report_sweep(cfg, evaluation, predictions, train_set.class_counts)


def trained_by(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a checkpoint's training; those of the published code have none."""
    config = state.get("config")
    return config if isinstance(config, Mapping) else {}


def report_sweep(cfg: Config, evaluation: Evaluation, predictions: dict[float | None, Predictions], class_counts: Tensor) -> None:
    taus = sorted(set(map(float, cfg.TEST.TAU_NORM.SWEEP)))
    sweep = {tau: measure(predictions[tau], class_counts, shot_bounds(cfg)) for tau in taus}
    paths = write_sweep(evaluation.base, sweep, cfg.TEST.TAU_NORM.TAU, evaluation.about, cfg.TEST.BEST_BY)
    log.info("By tau (%s):\n%s", WARNING, sweep_table(sweep, cfg.TEST.BEST_BY))
    log_written(paths)


def log_written(paths: dict[str, Path]) -> None:
    log.info("Written:\n%s", "\n".join(f"    {written}" for written in paths.values()))


def main(argv: Sequence[str]) -> int:
    return run_command(validate, make_parser(__doc__), argv)


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
