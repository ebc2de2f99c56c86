"""Which keys change what is trained, which change what a validation measures, and which change neither."""
from collections.abc import Mapping
from typing import Any

from lib.config.node import Config

# Paths, speed, and when files are written. For a resumed run also the weights from which it started.
NO_RESULT = {
    "NAME", "OUTPUT_DIR", "DETERMINISTIC", "VALID_STEP", "SAVE_STEP", "SHOW_STEP", "PIN_MEMORY", "RESUME_MODEL", "RESUME_MODE",
    "DATASET.ROOT", "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "DATASET.IN_MEMORY", "DATASET.GENERATE_CAM_BASED_DATASET",
    "DATASET.CAM_DATA_JSON_SAVE_PATH", "DATASET.CAM_DATA_SAVE_PATH", "DATASET.CAM_NUMBER_THRES", "NETWORK.PRETRAINED",
    "NETWORK.PRETRAINED_MODEL", "BACKBONE.PRETRAINED_MODEL", "TRAIN.NUM_WORKERS", "TRAIN.NUM_THREADS", "TRAIN.MEMORY_FORMAT",
    "TRAIN.DISTRIBUTED", "TRAIN.CUDA_GRAPHS", "TRAIN.COMPILE", "TRAIN.CHECKPOINT_MINUTES", "TRAIN.TENSORBOARD.ENABLE",
    "TEST.BATCH_SIZE", "TEST.LARGE_BATCHES", "TEST.NUM_WORKERS", "TEST.MODEL_FILE", "TEST.BEST_BY", "TEST.TAU_NORM.USE_TAU_NORM",
    "TEST.TAU_NORM.TAU", "TEST.TAU_NORM.SWEEP", "TEST.LOGIT_ADJUST", "TEST.SWEEP", "TEST.PRIOR", "TEST.SHIFTS",
    *(f"TEST.AGGREGATION.{key}" for key in ("USE", "TRANSFORMS", "EPOCHS", "RATE", "BATCH_SIZE", "LEAST")),
    "TEST.MANY_SHOT", "TEST.FEW_SHOT", "TEST.PART", "DATASET.TEST_JSON",
    *(f"DATASET.FOLDER.{key}" for key in (   # a run keeps its own split.csv
        "LAYOUT", "SPLIT", "VALID_SHARE", "TEST_SHARE", "MIN_VALID", "SEED", "NEAR_DUPLICATES", "FOLDS", "FOLD", "CACHE")),
}
# Sections and keys that affect the results of a validation, besides the checkpoint.
VALIDATION = (
    "INPUT_SIZE", "COLOR_SPACE", "DATASET.DATASET", "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "DATASET.ON_BAD_IMAGE",
    "DATASET.EXIF", "DATASET.ALPHA", "DATASET.MEAN", "DATASET.STD", "DATASET.IMBALANCECIFAR.", "BACKBONE.TYPE", "BACKBONE.TIMM.",
    "MODULE.TYPE", "CLASSIFIER.", "NETWORK.EXPERTS.", "TRANSFORMS.TEST_TRANSFORMS", "TEST.MANY_SHOT", "TEST.FEW_SHOT",
    "TRAIN.AMP_DTYPE",
)
EARLIER = {"DATASET.EXIF": False}   # behaviour of versions without the key, where its default differs


def changed(cfg: Config, there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Maps each changed key to (value here, value in the checkpoint). Keys that the checkpoint lacks are compared only if EARLIER
    says how its version behaved."""
    known = EARLIER | {key: value for key, value in there.items() if isinstance(key, str)}
    return {key: pair for key, pair in cfg.differences(known).items() if key in known and key in cfg.flat()}


def changed_for_validation(cfg: Config, there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: pair for key, pair in changed(cfg, there).items() if key.startswith(VALIDATION)}
