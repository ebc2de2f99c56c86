"""The files that a run writes to its directory; only these are deleted to replace the run or to rewind it to an earlier epoch."""
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lib.report import aggregated
from lib.report.report import FILES
from lib.run import checkpoint
from lib.utils.errors import InputError
from lib.utils.files import UNFINISHED, write_bytes_atomically

LAST, BEST = "last.pth", "best_model.pth"
PREVIOUS, PART = "previous.pth", "mid_epoch.pth"   # the former last.pth; the state in the middle of an epoch
EPOCH = re.compile(r"epoch_(\d+)\.pth")
MODELS, EVALUATIONS, TAU_NORM, TEST = "models", "evaluations", "tau_norm", "test"
CONFIG, ENVIRONMENT = "config.yaml", "environment.json"
DATA = ("split.csv", "data.txt", "data.json")   # of data sets of pictures in folders
RECORDS = (CONFIG, ENVIRONMENT, "uncommitted.diff", "log.txt", "history.jsonl", "indices.json", *DATA)
METRICS, SWEEP, ADJUST_SWEEP, SHIFTED = FILES["metrics"], "tau_sweep.json", "logit_adjust_sweep.json", "shifted_test.json"
EXPERT_WEIGHTS = aggregated.FILE
REPORT = tuple(FILES.values())   # files of one validation
SWEEP_REPORT = (EXPERT_WEIGHTS, *(
    name for file in (SWEEP, ADJUST_SWEEP, SHIFTED) for name in (file, f"figures/{Path(file).stem}.png")))
FIGURES = ("figures/training_curves.png", "figures/class_counts.png", "figures/cam_sampling.png")
EVENTS = "events.out.tfevents.*"   # files of TensorBoard

Position = tuple[int, int]   # last finished epoch, and finished batches of the next epoch


def is_checkpoint(name: str) -> bool:
    """Whether runs write checkpoints of this name."""
    return name in (LAST, BEST, PREVIOUS, PART) or EPOCH.fullmatch(name) is not None


def checkpoints(models: Path) -> list[Path]:
    return sorted(path for path in models.glob("*.pth") if is_checkpoint(path.name))


def written(directory: Path) -> Iterator[Path]:
    """Yields the files that a run has written, and no others. For a folder that is a symbolic link, yields the link."""
    yield from named(directory, (*RECORDS, *REPORT, *SWEEP_REPORT, *FIGURES))
    yield from whole_or_link(directory / MODELS, checkpoints(directory / MODELS))
    yield from whole_or_link(directory / "tensorboard", sorted((directory / "tensorboard").glob(EVENTS)))
    yield from (path for name in (TAU_NORM, EVALUATIONS, TEST) if os.path.lexists(path := directory / name))


def named(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yields those of the named files that exist; for a file in a linked folder, the link."""
    for name in names:
        path = directory / name
        if path.parent != directory and path.parent.is_symlink():
            yield path.parent
        elif os.path.lexists(path):
            yield path


def whole_or_link(folder: Path, files: list[Path]) -> list[Path]:
    return [folder] if folder.is_symlink() else files


def after(directory: Path, position: Position) -> Iterator[Path]:
    """Yields the files that are deleted when a run is rewound to ``position``: later checkpoints, and reports of later epochs."""
    epoch = position[0]
    for path in checkpoints(directory / MODELS):
        number = EPOCH.fullmatch(path.name)
        if ((int(number[1]), 0) if number else checkpoint.position(checkpoint.peek(path))) > position:
            yield path
    for folder, content, names in ((directory, METRICS, REPORT), (directory, SWEEP, SWEEP_REPORT),
                                   (directory / TEST, METRICS, REPORT)):
        if reported_epoch(folder / content) > epoch:
            yield from named(folder, names)
    yield from (path.parent for path in sorted((directory / TAU_NORM).glob(f"*/{METRICS}")) if reported_epoch(path) > epoch)


def reported_epoch(path: Path) -> int:
    """The epoch of a report; -1 if the report has none."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        epoch = content.get("epoch") if isinstance(content, dict) else None
        return epoch if isinstance(epoch, int) else -1
    return -1


def replaced_by_training(directory: Path, save_step: int, max_epoch: int) -> list[Path]:
    """Lists the existing files that a training would overwrite."""
    epochs = [path.name for path in checkpoints(directory / MODELS)
              if (number := EPOCH.fullmatch(path.name)) and int(number[1]) <= max_epoch and int(number[1]) % save_step == 0]
    models = [f"{MODELS}/{name}" for name in (LAST, BEST, PREVIOUS, PART, *epochs)]
    return [directory / name for name in (*RECORDS, *REPORT, *FIGURES, *models) if os.path.lexists(directory / name)]


def delete(directory: Path, paths: Iterable[Path]) -> None:
    """Deletes files, folders and links, but not the targets of links; then deletes the run's folders that have become empty."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for folder in (directory / name for name in (MODELS, "figures", "tensorboard", TAU_NORM)):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()


def second_name(path: Path, name: Path) -> None:
    """Atomically makes ``name`` a file with the content of ``path``: a hard link if the file system has them, else a copy."""
    link = name.with_name(f".{name.name}.link{UNFINISHED}")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
        os.replace(link, name)
    except OSError:
        write_bytes_atomically(name, path.read_bytes())


def remove_unfinished(directory: Path) -> None:
    """Deletes the temporary files that a killed process left of the run's files. Other temporary files are kept."""
    names = tuple(f".{Path(name).name}." for name in (*RECORDS, *REPORT, *SWEEP_REPORT, *FIGURES))
    ours = (path for folder in (directory, directory / "figures") for path in folder.glob(f".*{UNFINISHED}")
            if path.name.startswith(names))
    models = (path for path in (directory / MODELS).glob(f".*{UNFINISHED}") if ".pth." in path.name)
    reports = (path for name in (TAU_NORM, EVALUATIONS, TEST) for path in (directory / name).rglob(f".*{UNFINISHED}"))
    for path in (*ours, *models, *reports):
        path.unlink(missing_ok=True)


def check_spared(reads: Iterable[tuple[str, Path]], lost: Sequence[Path], what: str) -> None:
    """Raises InputError if a run reads files that it would delete or overwrite; links are followed.

    Args:
        reads: config keys, and the files that they name.
        lost: files and folders that would be deleted or overwritten.
        what: what would happen to them, for the message.
    """
    gone = {place for path in lost for place in places(path)}
    for key, path in reads if gone else ():
        if any(above in gone for place in places(path) for above in (place, *place.parents)):
            raise InputError(f"{key}: {path} is read by this run, and would be {what}; choose another NAME, or copy the file "
                             "elsewhere and name the copy")


def places(path: Path) -> set[Path]:
    """The absolute path, and the path with all links resolved."""
    return {Path(os.path.abspath(path)), Path(os.path.realpath(path))}
