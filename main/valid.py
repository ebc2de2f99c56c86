"""Validates a trained network: accuracies, shot groups, a table by class, and the confusion matrix.

    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus 0 TEST.MODEL_FILE best_model.pth
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu TEST.TAU_NORM.USE_TAU_NORM True TEST.TAU_NORM.TAU 0.5
    python main/valid.py --cfg configs/test/digits_lt.yaml --gpus cpu TEST.LOGIT_ADJUST 1

TEST.MODEL_FILE names the checkpoint: a file in the run's models/, or a path; the default is the last epoch. If checkpoint, data
and settings are those of the run, its own report is written again. Any other evaluation gets its own folder in evaluations/, and
says what differs. TEST.LOGIT_ADJUST 1 removes the training prior from the logits, TEST.PRIOR adds a known test prior, TEST.SWEEP
"[0, 0.5, 1]" compares values of LOGIT_ADJUST, and TEST.SHIFTS "[2, 10, 50]" evaluates on long-tailed test sets. Results of
tau-normalization go to tau_norm/, beside those of the unchanged network; TEST.TAU_NORM.SWEEP "[0, 0.5, 1]" compares several
values.
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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.config import Config, data_doubts
from lib.config.auto import complete
from lib.config.preparation import preprocessing
from lib.core import build
from lib.core.prior import prior_doubts
from lib.device.runtime import Runtime, to_device
from lib.engine.aggregation import expert, weighted_experts
from lib.engine.evaluation import Head, evaluate_heads, moved
from lib.report.aggregated import aggregation_table, measure_aggregation, write_aggregation
from lib.report.metrics import measure
from lib.report.predictions import Predictions
from lib.report.priors import Adjustments, Shift
from lib.report.report import Evaluated, write_report
from lib.report.shifted import measure_shifts, shifts_table, write_shifts
from lib.report.tables import class_table, experts_table, summary
from lib.report.tau_sweep import ADJUSTMENT, NORMALIZATION, WARNING, sweep_table, write_sweep
from lib.run import checkpoint
from lib.run.findings import FindingsLog
from lib.run.identity import Identity, align_to_checkpoint
from lib.run.run import LAST
from main.aggregation import aggregate
from main.command import make_parser, run_command, warn
from main.evaluation import Evaluation, check_report, identify
from main.final_test import count_look, identify_test
from main.look import look
from main.reporting import background, shot_bounds

log = logging.getLogger("main.valid")


class Adjusted(NamedTuple):
    """Logits from which tau times the log of the training prior is subtracted."""

    tau: float


class OneExpert(NamedTuple):
    """The unadjusted logits of one expert."""

    number: int


class LearnedWeights(NamedTuple):
    """The weighted mean of the experts, with weights learned on a shifted set; None is the whole set."""

    shift: Shift | None


# tau of tau-normalization; None is the headline where there is none
Way = float | None | Adjusted | Shift | OneExpert | LearnedWeights


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
            criterion = build.build_criterion(cfg, train_set.class_counts)
            heads = build.build_heads(cfg, network, criterion.evaluation_scale)
            ways = add_adjustments(heads, build.build_adjustments(cfg, criterion, train_set.class_counts, images), runtime.device)
            weights = aggregate(cfg, network, images, train_set.class_counts, precision, runtime)
            ways |= of_experts(cfg, weights, criterion.evaluation_scale)
            if runtime.is_main and (cfg.TEST.LOGIT_ADJUST or cfg.TEST.SWEEP or cfg.TEST.PRIOR or cfg.TEST.SHIFTS):
                warn(prior_doubts(cfg.flat(), criterion))
        with closing(loader):
            by_head = evaluate_heads(runtime.wrap(network), list(ways.values()), loader, precision, runtime)
        findings = FindingsLog([loader], runtime)
        findings.tell()
        if evaluation is None:   # not rank 0
            return
        with run.writing("run the same command again once there is room"):
            predictions = dict(zip(ways, by_head))
            title = f"{path}, epoch {state.get('epoch') or 'unknown'}"
            if cfg.TEST.PART == "test":
                evaluation = count_look(cfg, run, evaluation, images)
            tau, headline = next(iter(heads)), next(iter(predictions.values()))
            metrics = measure(headline, train_set.class_counts, shot_bounds(cfg))
            experts = [measure(of_way, train_set.class_counts, shot_bounds(cfg)) for way, of_way in predictions.items()
                       if isinstance(way, OneExpert)]
            evaluated = Evaluated(headline, metrics, images, findings.unreadable(0), experts)
            about = evaluation.about | ({} if tau is None else {"tau": tau})
            paths = write_report(evaluation.directory(tau), evaluated, about, background(run, path, about, trained_by(state)))
            log.info("%s%s:\n%s", title, "" if tau is None else f", tau-normalized with tau = {tau:g}", summary(metrics))
            if experts:
                log.info("By expert, as they were trained:\n%s", experts_table(metrics, experts))
            log.info("By class:\n%s", class_table(metrics, images.class_names))
            log_written(paths)
            report_more(cfg, evaluation, predictions, train_set.class_counts)
            if weights:
                learned = {shift: (own, predictions[LearnedWeights(shift)]) for shift, own in weights.items()}
                results = measure_aggregation(headline, learned, train_set.class_counts)
                log.info("With weights of the experts that were learned without labels:\n%s", aggregation_table(results))
                log_written(write_aggregation(evaluation.base, results, evaluation.about))


def trained_by(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the training of a checkpoint; empty for checkpoints of the published code."""
    config = state.get("config")
    return config if isinstance(config, Mapping) else {}


def add_adjustments(heads: Mapping[float | None, Head], adjustments: Adjustments, device: torch.device) -> dict[Way, Head]:
    """The heads to evaluate: the headline first, then those that it is compared with."""
    own = heads.get(None)
    if own is None:   # tau-normalized
        return dict([*heads.items()])
    first = own if adjustments.headline is None else moved(own, adjustments.headline.to(device))
    more: list[tuple[Way, Tensor]] = [(Adjusted(tau), shift) for tau, shift in adjustments.sweep.items()]
    more += adjustments.shifts.items()
    return {None: first, **{way: moved(own, shift.to(device)) for way, shift in more}}


def of_experts(cfg: Config, weights: Mapping[Shift | None, Tensor], scale: float) -> dict[Way, Head]:
    """Heads for each expert alone, and for all experts with each set of learned weights."""
    number = cfg.NETWORK.EXPERTS.NUM
    alone: dict[Way, Head] = {OneExpert(place): expert(place, scale) for place in range(number if number > 1 else 0)}
    return alone | {LearnedWeights(shift): weighted_experts(own, scale) for shift, own in weights.items()}


def report_more(cfg: Config, evaluation: Evaluation, predictions: Mapping[Way, Predictions], class_counts: Tensor) -> None:
    """Reports the requested sweeps over tau and shifted test sets."""
    normalized: dict[float, Way] = {tau: tau for tau in sorted(set(map(float, cfg.TEST.TAU_NORM.SWEEP)))}
    adjusted: dict[float, Way] = {way.tau: way for way in predictions if isinstance(way, Adjusted)}
    for ways, kind, headline in ((normalized, NORMALIZATION, cfg.TEST.TAU_NORM.TAU),
                                 (adjusted, ADJUSTMENT, cfg.TEST.LOGIT_ADJUST)):
        if ways:
            sweep = {tau: measure(predictions[way], class_counts, shot_bounds(cfg)) for tau, way in ways.items()}
            paths = write_sweep(evaluation.base, sweep, headline, evaluation.about, cfg.TEST.BEST_BY, kind)
            log.info("By tau (%s):\n%s", WARNING, sweep_table(sweep, cfg.TEST.BEST_BY))
            log_written(paths)
    shifts = {way: of_way for way, of_way in predictions.items() if isinstance(way, Shift)}
    if shifts:
        results = measure_shifts(predictions[None], shifts, class_counts)
        log.info("On shifted test sets (the first images of each class):\n%s", shifts_table(results))
        log_written(write_shifts(evaluation.base, results, evaluation.about))


def log_written(paths: dict[str, Path]) -> None:
    log.info("Written:\n%s", "\n".join(f"    {written}" for written in paths.values()))


def main(argv: Sequence[str]) -> int:
    return run_command(validate, make_parser(__doc__), argv)


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
