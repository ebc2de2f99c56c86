"""What the reports of a training and of a validation have in common."""
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.config import TREE, Config
from lib.core.run import Run
from lib.report.metrics import ShotBounds
from lib.report.page import Background
from lib.utils.errors import InputError
from lib.utils.text import shell_line

log = logging.getLogger(__name__)

FIGURES = ("training_curves.png", "class_counts.png")   # of the training, which the page shows


def shot_bounds(cfg: Config) -> ShotBounds:
    return ShotBounds(cfg.TEST.MANY_SHOT, cfg.TEST.FEW_SHOT)


def background(cfg: Config, run: Run, checkpoint: Path, subject: str,
               commands: Mapping[str, Sequence[str]]) -> Background:
    """What the page says beside the numbers; of the training only where the checkpoint is one of the run in the directory.

    Args:
        subject: what is validated.
        commands: what can be done next, and how.
    """
    defaults = TREE.flat()
    known = Background(cfg.NAME, subject, settings={key: (value, defaults[key]) for key, value in cfg.flat().items()},
                       commands=[(what, shell_line(words)) for what, words in {**commands, **uses(checkpoint)}.items()])
    if os.path.realpath(checkpoint.parent) != os.path.realpath(run.models):
        return known
    sessions = attempt(run.sessions, [])
    return known._replace(figures=[run.figures / name for name in FIGURES], history=attempt(run.history, []),
                          environment=sessions[-1] if sessions else {}, data=attempt(lambda: read_data(run), None))


def uses(checkpoint: Path) -> dict[str, list[str]]:
    """What a trained network is good for."""
    return {"Predict the classes of pictures:": ["python", "main/predict.py", str(checkpoint), "PICTURES-OR-FOLDERS"],
            "Export it:": ["python", "main/export.py", str(checkpoint), "--format", "onnx"],
            "Compare it with another run:": ["python", "tools/compare.py", str(checkpoint.parent.parent), "OTHER-RUN"]}


def read_data(run: Run) -> Any:
    """What a look at the data has found; None where there was none."""
    path = run.directory / "data.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def attempt(read: Callable[[], Any], default: Any) -> Any:
    """What a run has recorded of itself. That it is damaged keeps nobody from validating, and is said."""
    try:
        return read()
    except (InputError, OSError, ValueError, RecursionError) as error:
        log.warning("left out of report.html: %s", error)
        return default
