"""Decides what a training does if its directory already holds a run: refuse, resume it, replace it, or rewind it.

No file that the training reads is deleted or overwritten.
"""
import argparse
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lib.config import Config
from lib.config.auto import usual
from lib.config.effects import NO_RESULT, changed
from lib.config.files import files_of
from lib.dataset import ImageSet
from lib.device.runtime import Runtime
from lib.run import checkpoint, own_files
from lib.run.checkpoint import Start, peek, position
from lib.run.identity import UNTOLD
from lib.run.own_files import BEST, Position, check_spared
from lib.run.run import Run
from lib.run.state import Point
from lib.utils.errors import InputError

log = logging.getLogger("main.train")

STARTS = ("RESUME_MODEL", "NETWORK.PRETRAINED_MODEL", "BACKBONE.PRETRAINED_MODEL")   # read once, where a training begins
TEACHER = "TRAIN.COMBINER.DIVE.TEACHER_MODEL"   # read at every start
RESUME = STARTS[0]
WRITTEN_OVER = "overwritten by training"
SPLIT = "DATASET.FOLDER.SPLIT"   # read where a training begins, which keeps it as its own split.csv


class Claim(NamedTuple):
    """What happens to the run in the directory; if none of the three is set, there is no run."""

    goes_on: bool = False                # --ar: from its newest checkpoint
    replaces: bool = False               # --overwrite
    rewinds_to: Position | None = None   # RESUME_MODEL is a checkpoint of this run

    @property
    def keeps(self) -> bool:
        """Whether the run in the directory is resumed, with its own data."""
        return self.goes_on or self.rewinds_to is not None

    def lost(self, run: Run) -> list[Path]:
        """The files that are deleted."""
        if self.rewinds_to is not None:
            return list(own_files.after(run.directory, self.rewinds_to))
        return list(own_files.written(run.directory)) if self.replaces else []

    def best_epoch_held(self, run: Run) -> int | None:
        """The epoch of the best_model.pth that this training will find in its directory."""
        best = run.models / BEST
        return None if best in self.lost(run) else peek(best).get("epoch")

    def clear(self, cfg: Config, run: Run) -> None:
        if self.rewinds_to is not None:
            run.rewind(run.find_model(cfg.RESUME_MODEL), self.rewinds_to)
        elif self.replaces:
            run.clear()


def claim(cfg: Config, args: argparse.Namespace, run: Run, runtime: Runtime) -> Claim:
    """Locks the directory, if it exists, and refuses to lose anything, before anything is read or written.

    Ranks that their launcher has restarted always resume the run that they began.
    """
    if run.directory.is_dir():
        run.lock()
    if runtime.restarts:
        log.warning("restarted by the launcher, restart number %d", runtime.restarts)
    if args.ar or (runtime.restarts > 0 and (run.begun_by_this_launch() or not args.overwrite)):
        chosen = Claim(goes_on=True)
    elif cfg.RESUME_MODEL and not run.find_model(cfg.RESUME_MODEL).is_file():
        chosen = Claim()
        checkpoint.load(run.find_model(cfg.RESUME_MODEL), RESUME)   # raises, and says what is there instead
    elif is_own(cfg, run) and (cfg.RESUME_MODE == "all" or not args.overwrite):
        chosen = Claim(rewinds_to=own_position(cfg, run, args.overwrite))
    else:
        chosen = Claim(replaces=args.overwrite)
        if not args.overwrite:
            run.check_free()
    check_reads(cfg, args, run, chosen)
    return chosen


def is_own(cfg: Config, run: Run) -> bool:
    """Whether RESUME_MODEL is a checkpoint of the run that is in the directory."""
    path = run.find_model(cfg.RESUME_MODEL)
    return (bool(cfg.RESUME_MODEL) and path.is_file() and own_files.is_checkpoint(path.name)
            and os.path.realpath(path.parent) == os.path.realpath(run.models))


def own_position(cfg: Config, run: Run, overwrite: bool) -> Position:
    """Raises InputError if the run is further than RESUME_MODEL, unless it may be overwritten."""
    path = run.find_model(cfg.RESUME_MODEL)
    if cfg.RESUME_MODE != "all":
        raise InputError(f"{RESUME}: {path} is a checkpoint of the run in {run.directory}, and RESUME_MODE "
                         f"{cfg.RESUME_MODE} would replace that run by one that starts at epoch 1; choose another NAME")
    here = position(checkpoint.load(path, RESUME))
    later = [path.name for path in own_files.after(run.directory, here)]
    epochs = [entry["epoch"] for entry in run.history() if entry["epoch"] > here[0]]
    if (later or epochs) and not overwrite:
        newer = f"epochs up to {epochs[-1]}" if epochs else ", ".join(later)
        raise InputError(f"{RESUME}: {path} is of epoch {here[0]}, but the run in {run.directory} has {newer}. --ar True resumes "
                         f"from the newest checkpoint; --overwrite rewinds the run to {path.name} and deletes everything after "
                         f"it; another NAME with {RESUME} {path} does not change this run")
    return here


def check_reads(cfg: Config, args: argparse.Namespace, run: Run, chosen: Claim) -> None:
    """Raises InputError if training would delete or overwrite a file that the configuration names."""
    named = list(reads(cfg, run))
    files = [("--cfg", path) for path in files_of(args.cfg)]
    lost = chosen.lost(run)
    check_spared([pair for pair in named if pair[0] != RESUME or chosen.rewinds_to is None] + files, lost,
                 "deleted by --overwrite")
    written = replaced(cfg, run)
    begins = not chosen.keeps   # else the run's own checkpoint is read, and its config.yaml is its own
    if (run.directory / own_files.ENVIRONMENT).exists() or not begins:
        files = [pair for pair in files if not same_file(pair[1], run.directory / own_files.CONFIG)]
    unused = {*STARTS, SPLIT} if not begins else set()
    unused |= {TEACHER} if cfg.TRAIN.COMBINER.TYPE != "dive" else set()
    check_spared([pair for pair in named if pair[0] not in unused] + files, written, WRITTEN_OVER)


def replaced(cfg: Config, run: Run) -> list[Path]:
    """The existing files that would be overwritten."""
    return own_files.replaced_by_training(run.directory, cfg.SAVE_STEP, usual(cfg).TRAIN.MAX_EPOCH)


def same_file(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def reads(cfg: Config, run: Run) -> Iterator[tuple[str, Path]]:
    """The configuration keys of the files that training reads, with their paths."""
    values, data = cfg.flat(), cfg.DATASET
    for key in (*STARTS, TEACHER):
        if values[key]:
            yield key, run.find_model(values[key])
    root = Path(data.ROOT)
    if data.ROOT:
        yield "DATASET.ROOT", root
    if data.FOLDER.SPLIT:
        yield SPLIT, Path(data.FOLDER.SPLIT)
    for key in ("TRAIN_JSON", "VALID_JSON", "TEST_JSON"):
        if data[key]:
            yield f"DATASET.{key}", root / data[key]
    for key in ("CAM_DATA_JSON_SAVE_PATH", "CAM_DATA_SAVE_PATH"):
        if data[key] and data.USE_CAM_BASED_DATASET:
            yield f"DATASET.{key}", Path(data[key])


def check_images(lost: Sequence[Path], sets: Iterable[ImageSet], what: str = "deleted by --overwrite") -> None:
    """Raises InputError if an image would be lost, see ``check_spared``."""
    near: dict[str, bool] = {}   # folder of images to whether what would be lost is there; of images there are too many to follow
    places = {place for path in lost for place in own_files.places(path)}
    homes = {place.parent for place in places}

    def is_near(folder: str) -> bool:
        if folder not in near:
            found = own_files.places(Path(folder))
            near[folder] = any(place in homes or not places.isdisjoint((place, *place.parents)) for place in found)
        return near[folder]

    for images in sets if lost else ():
        files = ((images.name, Path(file)) for file in images.files() if is_near(os.path.dirname(file)))
        check_spared(files, lost, what)


def log_choice(cfg: Config, run: Run, chosen: Claim, start: Start) -> None:
    """Logs which checkpoint is used if --ar resumes although RESUME_MODEL names another one, and how to use that one."""
    if not (chosen.goes_on and cfg.RESUME_MODEL and start.resumes) or RESUME in start.source:
        return
    path, here = run.find_model(cfg.RESUME_MODEL), position(start.state)
    if path.is_file() and position(peek(path)) == here and is_own(cfg, run):
        return
    epoch = peek(path).get("epoch")
    other = f"{path}" + f" (epoch {epoch})" * isinstance(epoch, int)
    remedy = "--overwrite instead of --ar rewinds this run to it; " * is_own(cfg, run)
    remedy += f"another NAME with {RESUME} {path} starts from it"
    log.warning("--ar: resumes from %s (epoch %d), the newest checkpoint of this run, and not from %s %s; %s",
                start.source.removeprefix("--ar "), here[0], RESUME, other, remedy)


def log_changes(cfg: Config, start: Start, runtime: Runtime) -> None:
    """Logs what has changed since the checkpoint was written; changes that affect results are warnings."""
    there = start.state.get("config")
    for key, (new, old) in changed(cfg, there if isinstance(there, Mapping) else cfg.flat()).items():
        level = logging.INFO if key in NO_RESULT else logging.WARNING
        log.log(level, "changed since the checkpoint: %s was %r, is now %r", key, old, new)
    ranks = start.state.get("world_size", runtime.world_size)
    if ranks != runtime.world_size:
        log.info("changed since the checkpoint: there were %s processes, there are now %d", ranks, runtime.world_size)
    if "data" not in start.state:
        log.info(UNTOLD, start.source)


def check_length(cfg: Config, start: Start, point: Point, own: bool) -> None:
    """Logs if there are no epochs left to train. Raises InputError if a new run would begin like that and have no checkpoint.

    Args:
        own: whether the checkpoint belongs to the run in the directory.
    """
    last = cfg.TRAIN.MAX_EPOCH
    if point.epoch < last:
        return
    trained = f"TRAIN.MAX_EPOCH is {last}, and {start.source} has {point.epoch} epochs"
    if not own:
        raise InputError(f"{trained}, so nothing is left to train; increase TRAIN.MAX_EPOCH to continue, use RESUME_MODE "
                         "state_dict to start at epoch 1 from its weights, or validate it by main/valid.py with TEST.MODEL_FILE")
    log.log(logging.WARNING if point.epoch > last else logging.INFO,
            "%s: nothing is left to train, epoch %d is validated again; increase TRAIN.MAX_EPOCH to continue", trained,
            point.epoch)
