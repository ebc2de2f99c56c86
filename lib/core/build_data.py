"""From the config to sets of images."""
from collections.abc import Callable
from pathlib import Path

from yacs.config import CfgNode as Config

from lib.dataset import DATASETS, FolderPart, FolderSet, ImageSet, JsonPart, align, enlarge
from lib.dataset.decode import ReadOptions
from lib.dataset.folder import Assignment, Options, Survey, survey, survey_part
from lib.utils.errors import InputError


def has_survey(cfg: Config) -> bool:
    """Whether the images are looked at before anything is built from them."""
    return DATASETS[cfg.DATASET.DATASET] is FolderSet


def build_survey(cfg: Config, own: Path | None = None, start: Callable[[int], Callable[[int], None]] | None = None) -> Survey:
    """A look at all images of DATASET.ROOT.

    Args:
        own: split.csv of a run that is resumed or validated.
        start: see ``survey``.
    """
    options = {key.lower(): value for key, value in cfg.DATASET.FOLDER.items()}
    if options["cache"]:
        options["cache"] = str(Path(cfg.OUTPUT_DIR) / options["cache"])
    return survey(cfg.DATASET.ROOT, Options(**options, read=read_options(cfg), own=str(own or "")), start)


def build_part_survey(cfg: Config, split: Path, start: Callable[[int], Callable[[int], None]] | None = None) -> Survey:
    """A look at the images of TEST.PART alone, for a run whose split.csv tells of the others."""
    return survey_part(cfg.DATASET.ROOT, split, cfg.TEST.PART, read_options(cfg), start)


def read_options(cfg: Config) -> ReadOptions:
    return ReadOptions(cfg.DATASET.EXIF, cfg.DATASET.ALPHA)


def build_datasets(cfg: Config, added: bool = True, assignment: Assignment | None = None) -> tuple[ImageSet, ImageSet | None]:
    """The training set and the validation set; None for the latter where all images of DATASET.FOLDER are for training.

    Args:
        added: with the images of CAM-based sampling, where the configuration trains on them; validation can do without.
        assignment: what a look at the images has found, where they are looked at.
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
    """The images that the data set itself consists of."""
    options = dict(cfg.DATASET)
    if has_survey(cfg):
        options["FOLDER"] = {**cfg.DATASET.FOLDER, "SPLIT": assignment or build_survey(cfg).assignment}
    return DATASETS.build(cfg.DATASET.DATASET, options, train, cfg.DATASET.ROOT, tuple(cfg.INPUT_SIZE))


def choose_part(cfg: Config, train_set: ImageSet, valid_set: ImageSet | None, assignment: Assignment | None) -> ImageSet:
    """The images that main/valid.py looks at. Raises InputError where there are none."""
    chosen = build_test_set(cfg, train_set, assignment) if cfg.TEST.PART == "test" else valid_set
    if chosen is None and cfg.TEST.PART == "test":
        raise InputError(f"TEST.PART: there are no test images of {train_set.name}; a folder test, DATASET.FOLDER.TEST_SHARE or "
                         "DATASET.TEST_JSON would give some")
    if chosen is None:
        raise InputError(f"{train_set.name}: no images are held out for validation; TEST.PART test would look at test images")
    return chosen


def build_test_set(cfg: Config, train_set: ImageSet, assignment: Assignment | None = None) -> ImageSet | None:
    """The test images, which are looked at once, at the end; None where there are none.

    Args:
        train_set: whose classes they have.
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
