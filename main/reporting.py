"""Functions that the reports of training and validation share."""
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib.config import TREE, Config
from lib.report.metrics import ShotBounds
from lib.report.page import Background
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.text import shell_line

log = logging.getLogger(__name__)

FIGURES = ("training_curves.png", "class_counts.png")   # of the training, which the page shows


def shot_bounds(cfg: Config) -> ShotBounds:
    return ShotBounds(cfg.TEST.MANY_SHOT, cfg.TEST.FEW_SHOT)


def background(run: Run, checkpoint: Path, about: Mapping[str, Any], trained: Mapping[str, Any]) -> Background:
    """The information on the page besides the results; about the training only if the checkpoint belongs to this run.

    It does not depend on the validation command, so that the run's own report is the same for training and validation.

    Args:
        about: the entries of metrics.json besides the results.
        trained: the configuration of the training, by full key, as far as it is known.
    """
    tau = f", tau-normalized with tau = {about['tau']:g}" if "tau" in about else ""
    subject = f"{checkpoint.name}, epoch {about['epoch'] or 'unknown'}{tau}"
    defaults = TREE.flat()
    settings = {key: (value, defaults[key]) for key, value in trained.items() if key in defaults}
    known = Background(run.directory.name, subject, settings=settings, commands=describe_uses(checkpoint))
    if os.path.realpath(checkpoint.parent) != os.path.realpath(run.models):
        return known
    sessions = attempt(run.sessions, [])
    return known._replace(figures=[run.figures / name for name in FIGURES], history=attempt(run.history, []),
                          environment=sessions[-1] if sessions else {}, data=attempt(lambda: read_data(run), None),
                          commands=describe_uses(run.models / checkpoint.name))


def describe_uses(checkpoint: Path) -> list[tuple[str, str]]:
    """The uses of a trained network, with their commands."""
    predict = ["python", "main/predict.py", str(checkpoint), "PICTURES-OR-FOLDERS"]
    export = ["python", "main/export.py", str(checkpoint), "--format", "onnx"]
    compare = ["python", "tools/compare.py", str(checkpoint.parent.parent), "ANOTHER-RUN"]
    return [("Predict the classes of pictures:", shell_line(predict)),
            ("Write one file for other programs:", shell_line(export)), ("Compare with another run:", shell_line(compare))]


def read_data(run: Run) -> Any:
    """The findings in the data; None if the data was not examined."""
    path = run.directory / "data.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def attempt(read: Callable[[], Any], default: Any) -> Any:
    """Reads a file that a run has recorded. Damaged files do not stop a validation; the log names them."""
    try:
        return read()
    except (InputError, OSError, ValueError, RecursionError) as error:
        log.warning("left out of report.html: %s", error)
        return default
