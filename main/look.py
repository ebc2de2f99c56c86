"""Examines pictures in folders before a data set is built from them. Rank 0 does it; the others wait for its result."""
import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from lib.config import Config
from lib.core import build
from lib.dataset.folder import SPLIT, Assignment, Survey, class_table, unreadable_text, write_files
from lib.device.runtime import Runtime
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.progress import Counter

log = logging.getLogger("main.train")

BEAT_SECONDS = 60   # after which the waiting ranks hear that there is more to come; their patience is ten minutes
GO_ON = "still looking"
FOLDS = "folds.json"   # in a directory whose runs are folds


class Seen(NamedTuple):
    """The result of the examination.

    Attributes:
        assignment: the images with their classes and parts; None for data sets that are not examined.
        survey: all other findings; on rank 0 only.
        own: whether the assignment is that of the run's split.csv.
    """

    assignment: Assignment | None = None
    survey: Survey | None = None
    own: bool = False

    def write(self, run: Run) -> None:
        """Writes the files of the examination into the run."""
        if self.survey is not None and not self.own:
            write_files(self.survey, run.directory)


def look(cfg: Config, run: Run, own: bool, runtime: Runtime, evaluates: bool = False) -> Seen:
    """Examines DATASET.ROOT, if the data set requires it, and logs the findings; to be called on all ranks.

    Args:
        own: whether the parts are those of the run's own split.csv, if it has one.
        evaluates: whether nothing is trained, so that only the images of TEST.PART are needed of a run with a split.csv.

    Raises:
        InputError: on all ranks; see ``survey``.
    """
    if not build.has_survey(cfg):
        return Seen()
    if not runtime.is_main:
        return wait(runtime)
    seen, mistake = Seen(), None
    try:
        seen = see(cfg, run, own, Beat(runtime), evaluates)
    except InputError as error:
        mistake = error
    runtime.broadcast_object(seen.assignment)
    with runtime.agree():
        if mistake is not None:
            raise mistake
    return seen


def wait(runtime: Runtime) -> Seen:
    """Waits, on ranks other than 0, for the result."""
    assignment = GO_ON
    while isinstance(assignment, str):
        assignment = runtime.broadcast_object(None)
    with runtime.agree():
        return Seen(assignment)


class Beat:
    """Tells the waiting ranks regularly that rank 0 is working, since a collective that not all ranks join would time out."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.last = runtime, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self.last > BEAT_SECONDS:
            self.runtime.broadcast_object(GO_ON)
            self.last = time.monotonic()


def see(cfg: Config, run: Run, own: bool, beat: Beat, evaluates: bool) -> Seen:
    check_place(cfg, run)
    split = run.directory / SPLIT if own and (run.directory / SPLIT).is_file() else None
    if split is not None and cfg.DATASET.FOLDER.SPLIT:
        log.info("DATASET.FOLDER.SPLIT: not read, since the run has its own copy, %s", split)
    place = cfg.DATASET.ROOT

    def start(total: int) -> Callable[[int], None]:
        return count_images(place, total, beat)

    if evaluates and split is not None:
        place = f"{place}, {cfg.TEST.PART}"
        found = build.build_part_survey(cfg, split, start)
    else:
        found = build.build_survey(cfg, split, start)
    log.info("%s", class_table(found.assignment))
    for line in found.remarks:
        log.info("%s", line)
    if found.unreadable:
        log.warning("%s", unreadable_text(found.unreadable))
    for line in found.warnings:
        log.warning("%s", line)
    return Seen(found.assignment, found, split is not None)


def check_place(cfg: Config, run: Run) -> None:
    """Raises InputError for a run directory inside DATASET.ROOT, where its folders would be taken for classes later."""
    if (run.directory / FOLDS).exists():
        raise InputError(f"OUTPUT_DIR/NAME: {run.directory} holds the folds of --folds; choose another NAME, or use OUTPUT_DIR "
                         f"{run.directory} with NAME fold_1 for the first of them")
    root, directory = os.path.realpath(cfg.DATASET.ROOT), os.path.realpath(run.directory)
    if os.path.isdir(root) and cfg.DATASET.ROOT and os.path.commonpath([root, directory]) == root:
        raise InputError(f"OUTPUT_DIR: {run.directory} is inside DATASET.ROOT, {cfg.DATASET.ROOT}, whose folders are classes; "
                         "choose a folder outside of it")


def count_images(root: str, total: int, beat: Beat) -> Callable[[int], None]:
    """Logs the progress of the examination."""
    log.info("%s: checking %s images", root, f"{total:,}")
    counter = Counter(f"{root}:", total)

    def advance(number: int) -> None:
        counter.add(number)
        beat()

    return advance
