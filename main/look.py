"""A look at pictures in folders before anything is built from them, by rank 0; the others wait and get what it has found."""
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
    """What a look has found.

    Attributes:
        assignment: which images there are, of which class and in which part; None for data sets that are not looked at.
        survey: the rest of it; on rank 0 only.
        own: it is that of the run's split.csv.
    """

    assignment: Assignment | None = None
    survey: Survey | None = None
    own: bool = False

    def write(self, run: Run) -> None:
        """The files of a run that begins."""
        if self.survey is not None and not self.own:
            write_files(self.survey, run.directory)


def look(cfg: Config, run: Run, own: bool, runtime: Runtime, evaluates: bool = False) -> Seen:
    """Looks at DATASET.ROOT, if the data set asks for it, and logs what was found; to be called on all ranks.

    Args:
        own: the parts are those of the run's own split.csv, where it has one.
        evaluates: nothing is trained, so that of a run with a split.csv only the images of TEST.PART are needed.

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
    """Lets the ranks other than the first wait for the result."""
    assignment = GO_ON
    while isinstance(assignment, str):
        assignment = runtime.broadcast_object(None)
    with runtime.agree():
        return Seen(assignment)


class Beat:
    """Lets the waiting ranks know now and then that rank 0 is at work, since a collective that not all join fails in the end."""

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
    """Raises InputError for a run whose files would be classes of the next look, or lie among those of folds."""
    if (run.directory / FOLDS).exists():
        raise InputError(f"OUTPUT_DIR/NAME: {run.directory} holds the folds of --folds; choose another NAME, or use OUTPUT_DIR "
                         f"{run.directory} with NAME fold_1 for the first of them")
    root, directory = os.path.realpath(cfg.DATASET.ROOT), os.path.realpath(run.directory)
    if os.path.isdir(root) and cfg.DATASET.ROOT and os.path.commonpath([root, directory]) == root:
        raise InputError(f"OUTPUT_DIR: {run.directory} is inside DATASET.ROOT, {cfg.DATASET.ROOT}, whose folders are classes; "
                         "choose a folder outside of it")


def count_images(root: str, total: int, beat: Beat) -> Callable[[int], None]:
    """Logs how far the look has come."""
    log.info("%s: checking %s images", root, f"{total:,}")
    counter = Counter(f"{root}:", total)

    def advance(number: int) -> None:
        counter.add(number)
        beat()

    return advance
