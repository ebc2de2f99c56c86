"""Values that depend on other values, filled in once all files and pairs are merged."""
import os
from collections.abc import Iterator

from lib.backbone import named
from lib.config.node import BEFORE, Config
from lib.config.paths import expand_homes
from lib.utils.errors import InputError

OUTPUT_DIR, ROOT = "{OUTPUT_DIR}", "{ROOT}"
FIRST_MILESTONE = -1   # value of TRAIN.TWO_STAGE.START_EPOCH


def resolve(cfg: Config) -> Iterator[str]:
    """Fills in values that depend on other keys; yields a line for each that cannot be filled in.

    ``~`` at the beginning of a path is replaced by the home directory. ``{OUTPUT_DIR}`` in a text is replaced by OUTPUT_DIR, so
    that a second stage finds the first one in any OUTPUT_DIR; ``{ROOT}`` is replaced by the name of the folder DATASET.ROOT.
    START_EPOCH -1 becomes the first epoch of LR_STEP, so that DRW and DRS follow the schedule. Named weights set the mean and
    standard deviation of the images that they were trained on.
    """
    yield from expand_homes(cfg)
    for key, value in cfg.flat().items():
        if not isinstance(value, str):
            continue
        if BEFORE in value:
            yield f"{key}: {BEFORE} stands for the NAME of earlier yaml files, so it works in yaml files only; got {value!r}"
        if (OUTPUT_DIR in value and key == "OUTPUT_DIR") or (ROOT in value and key == "DATASET.ROOT"):
            yield f"{key}: cannot refer to itself, got {value!r}"
            continue
        cfg.put(key, value.replace(OUTPUT_DIR, cfg.OUTPUT_DIR.rstrip("/")).replace(ROOT, root_name(cfg.DATASET.ROOT)))
    if cfg.TRAIN.TWO_STAGE.START_EPOCH == FIRST_MILESTONE:
        yield from fill_in_stage(cfg)
    if named.is_named(cfg.BACKBONE.PRETRAINED_MODEL):
        yield from fill_in_named(cfg)


def root_name(root: str) -> str:
    """The name of a folder, or of a file without its suffix; the name of the working directory if ``root`` is empty."""
    name = os.path.basename(os.path.abspath(root))
    return os.path.splitext(name)[0] if os.path.isfile(root) else name


def fill_in_stage(cfg: Config) -> Iterator[str]:
    steps, schedule, last = cfg.TRAIN.LR_SCHEDULER.LR_STEP, cfg.TRAIN.LR_SCHEDULER.TYPE, cfg.TRAIN.MAX_EPOCH
    if schedule == "warmup_cosine":   # 4/5 as in published schedules, once MAX_EPOCH is known
        cfg.TRAIN.TWO_STAGE.START_EPOCH = max(1, last * 4 // 5) if last > 0 else FIRST_MILESTONE
    elif steps and schedule != "cosine":
        cfg.TRAIN.TWO_STAGE.START_EPOCH = steps[0]
    else:
        yield ("TRAIN.TWO_STAGE.START_EPOCH: -1 is the first epoch of TRAIN.LR_SCHEDULER.LR_STEP, "
               f"which TYPE {schedule} with LR_STEP {steps} does not have; give the epoch")
        cfg.TRAIN.TWO_STAGE.START_EPOCH = 0   # so that validate() does not report it again


def fill_in_named(cfg: Config) -> Iterator[str]:
    """Fills in what named weights determine (mean and std, backbone), where the configuration does not set it."""
    try:
        weights = named.look_up(cfg.BACKBONE.PRETRAINED_MODEL)
    except InputError as error:
        yield str(error)
        return
    cfg.BACKBONE.PRETRAINED_MODEL = weights.name   # full name, so that the run's config.yaml identifies the weights
    if not cfg.DATASET.MEAN and not cfg.DATASET.STD:
        cfg.DATASET.MEAN, cfg.DATASET.STD = list(weights.mean), list(weights.std)
    if cfg.AUTO and cfg.BACKBONE.TYPE == "auto":
        cfg.BACKBONE.TYPE = weights.backbone
    if cfg.BACKBONE.TYPE == weights.backbone == "timm" and not cfg.BACKBONE.TIMM.MODEL:
        cfg.BACKBONE.TIMM.MODEL = weights.timm_model
    wrong = named.mismatch(weights, cfg.BACKBONE.TYPE, cfg.BACKBONE.TIMM.MODEL)
    if wrong:
        yield f"{named.KEY}: {wrong}"
