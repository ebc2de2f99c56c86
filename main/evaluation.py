"""Decides whether an evaluation is the run's own report or another one, which gets a folder of its own."""
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lib.config import Config
from lib.config.effects import changed_for_validation
from lib.dataset import ImageSet
from lib.dataset.fingerprint import digest_names
from lib.run import own_files
from lib.run.identity import KEYS, TRAINING, UNTOLD, VALIDATION, Difference, Identity, compare_data, compare_preprocessing
from lib.run.own_files import (
    ADJUST_SWEEP,
    EVALUATIONS,
    EXPERT_WEIGHTS,
    METRICS,
    REPORT,
    SHIFTED,
    SWEEP,
    SWEEP_REPORT,
    TAU_NORM,
    check_spared,
)
from lib.run.run import Run
from main.claim import check_images, reads

log = logging.getLogger("main.valid")

DATA_KEYS = ("DATASET.DATASET", "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "DATASET.IMBALANCECIFAR.")   # compared by the images
WRITTEN_OVER = "overwritten by the report"
PLAIN = {"LOGIT_ADJUST": 0.0, "PRIOR": ""}   # keys of TEST that change the logits after training
NAMED_KEYS = 3    # in the name of a folder
LONGEST = 80      # characters of it, before what makes it unique


class Evaluation(NamedTuple):
    """An evaluation: a checkpoint, the data and the settings."""

    about: dict[str, Any]   # for metrics.json: epoch, checkpoint, and how it differs from the run's own report, if it does
    base: Path              # directory of its reports

    def directory(self, tau: float | None) -> Path:
        """A tau has a folder of its own, so that it does not replace the numbers of the network as it was trained."""
        return self.base if tau is None else self.base / TAU_NORM / f"tau_{tau}"


def find_differences(cfg: Config, state: Mapping[str, Any], here: Identity) -> list[Difference]:
    """The settings and data that affect the results and differ from those of the checkpoint, as far as it contains them."""
    data = compare_data(state, here, (TRAINING, VALIDATION))
    found = compare_preprocessing(state, here)
    config = state.get("config")
    for key, (new, old) in (changed_for_validation(cfg, config) if isinstance(config, Mapping) else {}).items():
        prepared = key in KEYS.values() and "preprocessing" in state
        images = key.startswith(DATA_KEYS) and "data" in state and not data
        if not (prepared or images):
            found.append(Difference(key, old, new))
    # of these, a training's own report has none, whatever its configuration says
    found += [Difference(f"TEST.{key}", plain, cfg.TEST[key]) for key, plain in PLAIN.items() if cfg.TEST[key] != plain]
    return found + data


def identify(cfg: Config, run: Run, path: Path, state: Mapping[str, Any], here: Identity) -> Evaluation:
    """Logs how the evaluation differs from the run's own report: its last epoch, with the settings and data of its training.

    Any other evaluation is written to evaluations/; without a run in the directory, the first one is written to it.
    """
    epoch, last = state.get("epoch"), run.last_epoch()
    inside = os.path.realpath(path.parent) == os.path.realpath(run.models)
    differences = find_differences(cfg, state, here)
    reasons = [str(difference) for difference in differences]
    if not inside:
        reasons.append(f"the checkpoint is not one of {run.directory}")
    elif epoch != last:
        reasons.append(f"the checkpoint is of epoch {epoch}, and the run's last one is {last}")
    for difference in differences:
        log.warning("different from the training: %s", difference)
    if "data" not in state:
        log.info(UNTOLD, path)
    own = Evaluation({"epoch": epoch, "checkpoint": path.name}, run.directory)
    if not reasons:
        return own
    about = {"epoch": epoch, "checkpoint": str(path), "differs": reasons}
    first, no_run = Evaluation(about, run.directory), not (own_files.checkpoints(run.models) or run.history_file.exists())
    if no_run and all(is_of(file, about) for file in reports(cfg, first)):
        return first
    name = folder_name(path, inside, epoch, [difference.key for difference in differences])
    unique = digest_names(map(repr, (os.path.realpath(path), epoch, reasons, here.preprocessing, here.facts())))[:8]
    other = Evaluation(about, run.directory / EVALUATIONS / f"{name}_{unique}")
    log.info("the run's own report is not replaced, since %s; this report goes to %s", reasons[-1] if not differences else
             "data or settings differ from the training", other.base)
    return other


def reports(cfg: Config, evaluation: Evaluation) -> list[Path]:
    """The files that get its results."""
    options = cfg.TEST.TAU_NORM
    directory = evaluation.directory(float(options.TAU) if options.USE_TAU_NORM else None)
    more = {SWEEP: options.SWEEP, ADJUST_SWEEP: cfg.TEST.SWEEP, SHIFTED: cfg.TEST.SHIFTS,
            EXPERT_WEIGHTS: cfg.TEST.AGGREGATION.USE}
    return [directory / METRICS, *(evaluation.base / file for file, asked in more.items() if asked)]


def check_report(cfg: Config, run: Run, evaluation: Evaluation, sets: Sequence[ImageSet]) -> None:
    """Raises InputError if a report would overwrite data that it is computed from."""
    numbers, *sweep = reports(cfg, evaluation)
    written = [*own_files.named(numbers.parent, REPORT), *(own_files.named(evaluation.base, SWEEP_REPORT) if sweep else ())]
    files = [pair for pair in reads(cfg, run) if pair[0].startswith("DATASET.")]
    files += [("TEST.PRIOR", Path(cfg.TEST.PRIOR))] * Path(cfg.TEST.PRIOR).is_file()
    check_spared(files, written, WRITTEN_OVER)
    check_images(written, sets, WRITTEN_OVER)


def is_of(report: Path, about: dict[str, Any]) -> bool:
    """Whether a report is of this evaluation, or does not exist."""
    if not report.exists():
        return True
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(report.read_text(encoding="utf-8"))
        return isinstance(content, dict) and all(content.get(key) == about.get(key) for key in ("epoch", "checkpoint", "differs"))
    return False


def folder_name(path: Path, inside: bool, epoch: int | None, keys: list[str]) -> str:
    """Name of a folder: the checkpoint, its run if it is another one, its epoch if its name lacks it, and the changes."""
    words = [path.parent.parent.name] if not inside and path.parent.name == "models" else []
    words.append(path.stem)
    words += [f"epoch_{epoch}"] * (epoch is not None and not path.stem.startswith("epoch_"))
    words += [key.rpartition(".")[2] for key in keys[:NAMED_KEYS]]
    return re.sub(r"[^\w.-]+", "_", "_".join(words))[:LONGEST].strip("._")
