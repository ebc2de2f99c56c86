"""The predictions of finished runs, and the grouping of runs that differ only in their seed."""
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.config import TREE
from lib.config.effects import NO_RESULT
from lib.config.node import read_flat
from lib.report.comparison import Entrant, Ground
from lib.report.metrics import ShotBounds
from lib.report.report import FILES
from lib.run.own_files import CONFIG, TEST
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import count, name_some, plain_cell, shell_line

STARTS = ("BACKBONE.PRETRAINED_MODEL", "NETWORK.PRETRAINED_MODEL", "DATASET.CAM_DATA_JSON_SAVE_PATH")   # with or without
FOLD = "fold_"


class Judged(NamedTuple):
    """A run with the images of its validation or test."""

    name: str
    directory: Path
    settings: Mapping[str, Any]      # by full key; empty where the run does not tell
    images: dict[str, tuple[str, bool]]   # path, or number in the set, to the class's name and whether it was recognised
    train_images: dict[str, int]     # by class name, in label order
    bounds: ShotBounds
    checkpoint: str

    @property
    def seed(self) -> int | None:
        return self.settings.get("SEED")


def read_run(directory: Path, part: str) -> Judged:
    """Args:
        directory: of a run, of its folds, or any folder with the report of a validation.
        part: "valid", or "test" for the images that were kept apart.

    Raises:
        InputError: there is none, or its files are damaged.
    """
    if not directory.is_dir():
        raise MissingPathError(f"no folder {directory}; name the folders of runs, such as output/birds")
    folds = sorted(directory.glob(f"{FOLD}*/{FILES['predictions']}"))
    if folds and not (directory / FILES["predictions"]).is_file():
        return together(directory, [read_run(path.parent, part) for path in folds])
    folder = directory / TEST if part == "test" else directory
    table = folder / FILES["predictions"]
    if not table.is_file():
        raise MissingPathError(missing(directory, part))
    own = directory if (directory / CONFIG).is_file() else directory.parent.parent
    settings = read_flat(own / CONFIG, TREE.flat()) if (own / CONFIG).is_file() else {}
    about = read_metrics(folder / FILES["metrics"])
    bounds = ShotBounds(**about["shot_bounds"]) if "shot_bounds" in about else ShotBounds()
    described = f"{about.get('checkpoint', 'unknown checkpoint')}, epoch {about.get('epoch', 'unknown')}"
    return Judged(directory.resolve().name, directory, settings, dict(read_images(table)),
                  read_counts(folder / FILES["per_class"]), bounds, described)


def missing(directory: Path, part: str) -> str:
    if not (directory / CONFIG).is_file():
        return f"{directory}: is not the folder of a run: it has neither {FILES['predictions']} nor {CONFIG}"
    words = ["python", "main/valid.py", "--cfg", str(directory / CONFIG), "--gpus", "cpu", "TEST.MODEL_FILE", "last.pth"]
    words += ["TEST.PART", "test"] * (part == "test")
    return f"{directory}: has not been {'tested' if part == 'test' else 'validated'} by this version; this command writes " \
           f"{FILES['predictions']}:\n    {shell_line(words)}"


def together(directory: Path, folds: Sequence[Judged]) -> Judged:
    """The runs of ``--folds`` as one, each image judged by the network that has not seen it."""
    images: dict[str, tuple[str, bool]] = {}
    for fold in folds:
        twice = images.keys() & fold.images.keys()
        if twice:
            raise InputError(f"{directory}: {count(len(twice), 'image')} in more than one fold ({name_some(sorted(twice))}); the "
                             "folds were made of different images")
        images |= fold.images
    return folds[0]._replace(name=directory.resolve().name, directory=directory, images=images,
                             checkpoint=f"{count(len(folds), 'fold')} together")


def read_metrics(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}; main/valid.py writes it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: has no metrics of a validation; main/valid.py writes it again")
    return content


def read_images(table: Path) -> Iterator[tuple[str, tuple[str, bool]]]:
    for number, row in rows(table, ("index", "path", "true", "predicted", "true_class", "predicted_class")):
        if not (row["true_class"] or "").isdecimal() or not (row["predicted_class"] or "").isdecimal():
            raise InputError(f"{table}, line {number}: no numbers of classes; main/valid.py writes it again")
        key = plain_cell(row["path"]) or f"image {row['index']}"
        yield key, (plain_cell(row["true"]), row["true_class"] == row["predicted_class"])


def read_counts(table: Path) -> dict[str, int]:
    counts = {}
    for number, row in rows(table, ("name", "train_images")):
        if not (row["train_images"] or "").isdecimal():
            raise InputError(f"{table}, line {number}: no number of images; main/valid.py writes it again")
        counts[plain_cell(row["name"])] = int(row["train_images"])
    return counts


def rows(table: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in needed if name not in (reader.fieldnames or ())]
            if lacking:
                raise InputError(f"{table}: has no column {', '.join(lacking)}; main/valid.py writes it again")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read: {error}; main/valid.py writes it again") from error


def common_images(runs: Sequence[Judged], only_common: bool) -> tuple[list[str], list[Judged]]:
    """Names of the images, and the runs with those images alone.

    Raises:
        InputError: they were tried on different images and ``only_common`` is off, or on none in common; an image is of another
            class; classes differ.
    """
    first = runs[0]
    for run in runs[1:]:
        other = set(run.train_images) ^ set(first.train_images)
        if other:
            raise InputError(f"{first.directory} and {run.directory}: other classes ({name_some(sorted(other))}); only runs with "
                             "the same classes can be compared")
    if any(run.images.keys() != first.images.keys() for run in runs):
        runs = [run._replace(images=by_ends(run.images)) for run in runs]
    shared = set.intersection(*(set(run.images) for run in runs))
    if not shared:
        raise InputError(f"no image is in all of {name_some([run.directory for run in runs])}: there is nothing to compare")
    for run in runs:
        more = len(run.images) - len(shared)
        if more and not only_common:
            some = name_some(sorted(set(run.images) - shared))
            raise InputError(f"{run.directory}: {count(more, 'of its images is', 'of its images are')} not in all of the runs "
                             f"({some}); --common compares on the {len(shared):,} that are")
    names = [name for name in runs[0].images if name in shared]
    for run in runs[1:]:
        other = [name for name in names if run.images[name][0] != runs[0].images[name][0]]
        if other:
            raise InputError(f"{other[0]}: is of class {runs[0].images[other[0]][0]!r} in {runs[0].directory} and of "
                             f"{run.images[other[0]][0]!r} in {run.directory}; only runs with the same labels can be compared")
    return names, list(runs)


def by_ends(images: dict[str, tuple[str, bool]]) -> dict[str, tuple[str, bool]]:
    """Identifies images by the last two parts of their paths, if these are unique: folders may have been moved or renamed."""
    ends = {name: "/".join(Path(name).parts[-2:]) for name in images}
    return {ends[name]: value for name, value in images.items()} if len(set(ends.values())) == len(ends) else images


def group(runs: Sequence[Judged], names: Sequence[str], apart: bool) -> tuple[Ground, list[Entrant]]:
    """The common images, and a row for each group of runs that differ only in their seed.

    Args:
        apart: a row for each run.
    """
    classes = list(runs[0].train_images)
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[runs[0].images[name][0]] for name in names])
    counts = np.array([runs[0].train_images[name] for name in classes])
    groups: dict[Any, list[Judged]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(place if apart or run.seed is None else same_but_seed(run), []).append(run)
    entrants = []
    for own in groups.values():
        alone = len({run.seed for run in own}) < len(own)   # the same seed twice is no other seed
        for members in ([[run] for run in own] if alone else [own]):
            hits = np.array([[run.images[name][1] for name in names] for run in members])
            entrants.append(Entrant(group_name(members), [run.seed or 0 for run in members], hits))
    return Ground(labels, classes, counts, runs[0].bounds), entrants


def same_but_seed(run: Judged) -> str:
    """A key that is equal for runs whose results can differ only by their seed."""
    kept = {key: value for key, value in run.settings.items() if key not in NO_RESULT and key != "SEED"}
    return repr((sorted(kept.items()), [bool(run.settings.get(key)) for key in STARTS]))


def group_name(runs: Sequence[Judged]) -> str:
    """The common beginning of the names of its runs."""
    if len(runs) == 1:
        return runs[0].name
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*(run.name for run in runs)))
    shared = "".join(letters[0] for letters in same)
    return shared.rstrip("_-").removesuffix("seed").removesuffix("_s").rstrip("_-") or runs[0].name
