"""Builds image sets from the config."""
from collections.abc import Callable
from pathlib import Path

from yacs.config import CfgNode as Config

from lib.dataset import DATASETS, FolderPart, FolderSet, ImageSet, JsonPart, align, enlarge
from lib.dataset.decode import ReadOptions
from lib.dataset.folder import Assignment, Options, Survey, survey, survey_part
from lib.utils.errors import InputError


def has_survey(cfg: Config) -> bool:
    """Whether all images are read and checked before training (DATASET.DATASET FOLDER)."""
    return DATASETS[cfg.DATASET.DATASET] is FolderSet


def build_survey(cfg: Config, own: Path | None = None, start: Callable[[int], Callable[[int], None]] | None = None) -> Survey:
    """Reads and checks all images of DATASET.ROOT.

    Args:
        own: split.csv of a run that is resumed or validated.
        start: see ``survey``.
    """
    options = {key.lower(): value for key, value in cfg.DATASET.FOLDER.items()}
    if options["cache"]:
        options["cache"] = str(Path(cfg.OUTPUT_DIR) / options["cache"])
    return survey(cfg.DATASET.ROOT, Options(**options, read=read_options(cfg), own=str(own or "")), start)


def build_part_survey(cfg: Config, split: Path, start: Callable[[int], Callable[[int], None]] | None = None) -> Survey:
    """Reads and checks only the images of TEST.PART, for a run whose split.csv lists all images."""
    return survey_part(cfg.DATASET.ROOT, split, cfg.TEST.PART, read_options(cfg), start)


def read_options(cfg: Config) -> ReadOptions:
    return ReadOptions(cfg.DATASET.EXIF, cfg.DATASET.ALPHA)


def build_datasets(cfg: Config, added: bool = True, assignment: Assignment | None = None) -> tuple[ImageSet, ImageSet | None]:
    """The training set and the validation set; the latter is None if all images of DATASET.FOLDER are for training.

    Args:
        added: whether to add the images of CAM-based sampling, if the configuration uses them; validation does not need them.
        assignment: the result of ``build_survey``, for data sets that have one.
    """
    if assignment is None and has_survey(cfg):
        assignment = build_survey(cfg).assignment   # once for both
    train_set, valid_set = build_dataset(cfg, True, assignment), None
    if assignment is None or assignment.members("valid"):
        valid_set = build_dataset(cfg, False, assignment)
        align(valid_set, train_set.class_names, train_set.name)
    if cfg.DATASET.USE_CAM_BASED_DATASET and added:
        train_set = enlarge(train_set, Path(cfg.DATASET.CAM_DATA_JSON_SAVE_PATH), cfg.DATASET.ROOT)
    return train_set, valid_set


def build_dataset(cfg: Config, train: bool, assignment: Assignment | None = None) -> ImageSet:
    """The training or validation set, without images of CAM-based sampling."""
    options = dict(cfg.DATASET)
    if has_survey(cfg):
        options["FOLDER"] = {**cfg.DATASET.FOLDER, "SPLIT": assignment or build_survey(cfg).assignment}
    return DATASETS.build(cfg.DATASET.DATASET, options, train, cfg.DATASET.ROOT, tuple(cfg.INPUT_SIZE))


def choose_part(cfg: Config, train_set: ImageSet, valid_set: ImageSet | None, assignment: Assignment | None) -> ImageSet:
    """The images that main/valid.py evaluates. Raises InputError if there are none."""
    chosen = build_test_set(cfg, train_set, assignment) if cfg.TEST.PART == "test" else valid_set
    if chosen is None and cfg.TEST.PART == "test":
        raise InputError(f"TEST.PART: is test, but {train_set.name} has no test images; a folder called test, "
                         "DATASET.FOLDER.TEST_SHARE or DATASET.TEST_JSON gives some")
    if chosen is None:
        raise InputError(f"TEST.PART: is {cfg.TEST.PART}, but no images of {train_set.name} are held out for validation; with "
                         "TEST.PART test the test images are evaluated")
    return chosen


def build_test_set(cfg: Config, train_set: ImageSet, assignment: Assignment | None = None) -> ImageSet | None:
    """The test images, which are evaluated once, at the end; None if there are none.

    Args:
        train_set: the classes of the test images must be those of this set.
    """
    if assignment is not None:
        has_test = bool(assignment.members("test"))
        test_set: ImageSet | None = FolderPart(assignment, cfg.DATASET.ROOT, "test", read_options(cfg)) if has_test else None
    elif cfg.DATASET.TEST_JSON:
        test_set = JsonPart("DATASET.TEST_JSON", cfg.DATASET.TEST_JSON, cfg.DATASET.ROOT, read_options(cfg),
                            cfg.DATASET.ON_BAD_IMAGE == "skip")
    else:
        return None
    if test_set is not None:
        align(test_set, train_set.class_names, train_set.name)
    return test_set
