"""Checks of the keys of data sets against each other and against other keys."""
from collections.abc import Iterator

from lib.config.node import Config
from lib.dataset import DATASETS
from lib.dataset.folder_set import MOST_FOLDS
from lib.modules import CLASSIFIERS


def annotations(cfg: Config) -> Iterator[str]:
    """Reports annotation files that are set but that the data set DATASET.DATASET does not read."""
    name = cfg.DATASET.DATASET
    for option in ("TRAIN_JSON", "VALID_JSON"):
        able = [other for other in DATASETS if option in DATASETS.options(other)]
        if name in DATASETS and name not in able and cfg.DATASET[option]:
            yield (f"DATASET.{option}: is set, but DATASET.DATASET {name} does not read it; set it to '', or use "
                   f"{' or '.join(able)}")
    able = [other for other in DATASETS if "VALID_JSON" in DATASETS.options(other)]
    if cfg.DATASET.TEST_JSON and name in DATASETS and name not in able:
        yield f"DATASET.TEST_JSON: is set, but DATASET.DATASET {name} does not read it; set it to '', or use {' or '.join(able)}"


def folders(cfg: Config) -> Iterator[str]:
    """Checks the shares and folds of DATASET.FOLDER."""
    options = cfg.DATASET.FOLDER
    if max(options.VALID_SHARE, options.TEST_SHARE) < 1 <= options.VALID_SHARE + options.TEST_SHARE:
        yield (f"DATASET.FOLDER.VALID_SHARE: VALID_SHARE {options.VALID_SHARE} and TEST_SHARE {options.TEST_SHARE} leave no "
               "training images; their sum must be below 1")
    if options.FOLDS == 1:
        yield "DATASET.FOLDER.FOLDS: must be 0 (no folds) or at least 2, got 1"
    if max(options.FOLDS, 1) < options.FOLD <= MOST_FOLDS:
        yield f"DATASET.FOLDER.FOLDS: must be at least FOLD, which is {options.FOLD}, got {options.FOLDS}"


def cam_sampling(cfg: Config) -> Iterator[str]:
    """Checks what CAM-based sampling needs: to generate images from class activation maps, and to train with them."""
    generate, use = "DATASET.GENERATE_CAM_BASED_DATASET", "DATASET.USE_CAM_BASED_DATASET"
    makes, uses, classifier = cfg.flat()[generate], cfg.flat()[use], cfg.CLASSIFIER.TYPE
    if makes and uses:
        yield f"{generate}: generates images and does not train, while {use} trains with them; set one of the two to True"
    if (makes or uses) and not cfg.DATASET.CAM_DATA_JSON_SAVE_PATH:
        yield f"{generate if makes else use}: is True, so DATASET.CAM_DATA_JSON_SAVE_PATH must name the annotation file"
    if not makes:
        return
    if not cfg.DATASET.CAM_DATA_SAVE_PATH:
        yield f"{generate}: is True, so DATASET.CAM_DATA_SAVE_PATH must name the folder of the new images"
    if not cfg.NETWORK.PRETRAINED:
        yield f"{generate}: needs a trained network; set NETWORK.PRETRAINED to True and NETWORK.PRETRAINED_MODEL to a checkpoint"
    if cfg.MODULE.TYPE != "GAP":
        yield f"{generate}: class activation maps need MODULE.TYPE GAP, got {cfg.MODULE.TYPE}"
    able = [name for name in sorted(CLASSIFIERS) if hasattr(CLASSIFIERS[name], "class_vectors")]
    if classifier in CLASSIFIERS and classifier not in able:
        yield f"{generate}: CLASSIFIER.TYPE {classifier} has no class vectors, which the maps need; use {', '.join(able)}"
