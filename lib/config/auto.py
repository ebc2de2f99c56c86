"""Values that are chosen from the data (AUTO True): the marks that request a choice, and how the chosen values replace them."""
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.config.node import Config, ConfigError, read_flat
from lib.config.resolve import resolve
from lib.config.validate import validate
from lib.dataset import DATASETS, ArraySet
from lib.utils.errors import InputError

SCALE = "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE"
# Key to (mark that requests a choice, usual value). The usual value stands in while the other values are checked.
AUTO: dict[str, tuple[Any, Any]] = {
    "BACKBONE.TYPE": ("auto", "res18"), "LOSS.LOSS_TYPE": ("auto", "CrossEntropy"), "INPUT_SIZE": ([0, 0], [224, 224]),
    "TRANSFORMS.TRAIN_TRANSFORMS": (["auto"], ["random_resized_crop"]),
    "TRANSFORMS.TEST_TRANSFORMS": (["auto"], ["normal_resize"]),
    SCALE: ([0.0, 0.0], [0.08, 1.0]), "TRAIN.BATCH_SIZE": (0, 32), "TRAIN.MAX_EPOCH": (0, 10**6),
    "TRAIN.OPTIMIZER.TYPE": ("auto", "SGD"), "TRAIN.OPTIMIZER.BASE_LR": (0.0, 0.01),
    "TRAIN.LR_SCHEDULER.WARM_EPOCH": (-1, 0), "VALID_STEP": (0, 1),
    "TEST.BATCH_SIZE": (0, 32), "TRAIN.NUM_WORKERS": (-1, 0), "TEST.NUM_WORKERS": (-1, 0),
}

FOLLOWING = ("BACKBONE.TIMM.MODEL", "DATASET.MEAN", "DATASET.STD")   # filled in by named weights, where they are empty


def undecided(cfg: Config) -> list[str]:
    """Lists the keys whose values are still to be chosen from the data."""
    values = cfg.flat()
    return [key for key, (mark, _) in AUTO.items() if cfg.AUTO and values[key] == mark]


def usual(cfg: Config) -> Config:
    """Replaces values that are still to be chosen by usual ones, so that the others can be checked."""
    keys = undecided(cfg)
    return with_values(cfg, {key: AUTO[key][1] for key in keys}) if keys else cfg


def problems(cfg: Config) -> Iterator[str]:
    """Yields the mistakes of a configuration in which some values may still be undecided, a line each."""
    closed = usual(cfg)
    if closed is not cfg:
        yield from resolve(closed)   # fills in values that refer to undecided ones
    yield from validate(closed)
    if "INPUT_SIZE" in undecided(cfg) and is_resized(cfg.DATASET.DATASET):
        yield f"INPUT_SIZE: must be given for DATASET.DATASET {cfg.DATASET.DATASET}, whose images are resized to it when read"
    if cfg.TRAIN.MINUTES > 0 and "TRAIN.MAX_EPOCH" not in undecided(cfg):
        yield (f"TRAIN.MINUTES: chooses TRAIN.MAX_EPOCH, but TRAIN.MAX_EPOCH is set to {cfg.TRAIN.MAX_EPOCH}; set AUTO to True "
               "and TRAIN.MAX_EPOCH to 0")


def is_resized(name: str) -> bool:
    """Whether a data set resizes its images when it reads them."""
    return name in DATASETS and isinstance(DATASETS[name], type) and issubclass(DATASETS[name], ArraySet)


def decide(cfg: Config, values: Mapping[str, Any]) -> Config:
    """Inserts the chosen values; the result is complete, checked and frozen."""
    decided = with_values(cfg, values)
    found = [*resolve(decided), *validate(decided)]
    if found:
        raise ConfigError("\n  ".join(["with the values chosen from the data, the configuration has mistakes:", *found]))
    decided.freeze()
    return decided


def as_its_run(cfg: Config, directory: Path) -> Config:
    """Inserts the values chosen for the run in ``directory``. Returns ``cfg`` if there is no run or nothing is undecided."""
    keys, file = undecided(cfg), directory / "config.yaml"
    if not keys or not file.exists():
        return cfg
    known, values = read_flat(file, cfg.flat()), cfg.flat()
    return decide(cfg, {key: known[key] for key in [*keys, *(key for key in FOLLOWING if not values[key])] if key in known})


def complete(cfg: Config, directory: Path) -> Config:
    """Like ``as_its_run``, for programs that need all values but do not train. Raises InputError if any value stays undecided."""
    settled = as_its_run(cfg, directory)
    if undecided(settled):
        raise InputError(f"{', '.join(undecided(settled)[:3])}, …: are chosen when a run is trained, but there is no run in "
                         f"{directory}; give the config.yaml of a trained run to --cfg, which has the chosen values")
    return settled


def with_values(cfg: Config, values: Mapping[str, Any]) -> Config:
    copy = cfg.clone()
    copy.defrost()
    for key, value in values.items():
        copy.put(key, value)
    return copy
