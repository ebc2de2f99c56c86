"""Checks the paths of predictions and exports, which must never overwrite a file of a run."""
from collections.abc import Sequence
from pathlib import Path

from lib.run.own_files import CONFIG, MODELS
from lib.utils.errors import InputError, MissingPathError

EXPORT = "export"   # folder in a run's directory for exports; they do not count as files of the run


def check_outputs(outputs: Sequence[Path], overwrite: bool) -> None:
    """Checks that the output files can be written. Call it before any other work.

    Raises:
        InputError: a file exists already and ``overwrite`` is False or it belongs to a run; a path is a folder or given twice.
        MissingPathError: the folder of a file does not exist.
    """
    for path in outputs:
        if not path.parent.is_dir():
            raise MissingPathError(f"{path}: no folder {path.parent}; create it first")
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file in it")
        if path.exists() and belongs_to_run(path.absolute()):
            raise InputError(f"{path}: belongs to a run, whose files are never overwritten; name another file")
        if path.exists() and not overwrite:
            raise InputError(f"{path}: already there; --overwrite replaces it")
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise InputError(f"{outputs[0]}: is given for two outputs; give each its own file")


def belongs_to_run(path: Path) -> bool:
    return any(is_run(folder) and path.relative_to(folder).parts[0] != EXPORT for folder in path.parents)


def is_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / MODELS).is_dir()
