"""Compares the configuration of an existing run with the one that would resume it."""
import os
from collections.abc import Iterator

from lib.config import TREE, Config
from lib.config.auto import as_its_run
from lib.config.node import read_flat
from lib.run.run import Run

NO_MATTER = ("SHOW_STEP", "SAVE_STEP", "PIN_MEMORY", "TRAIN.NUM_WORKERS", "TRAIN.NUM_THREADS", "TRAIN.DISTRIBUTED",
             "TRAIN.TENSORBOARD.ENABLE", "TEST.NUM_WORKERS")   # keys that may change between two calls


def changes(cfg: Config, run: Run) -> Iterator[str]:
    """The differences between the existing run and ``cfg``, a line per key."""
    file = run.directory / "config.yaml"
    old = read_flat(file, TREE.flat()) if file.exists() else {}
    for key, (new, before) in as_its_run(cfg, run.directory).differences(old).items():
        if key in old and key not in NO_MATTER and as_path(new) != as_path(before):
            yield f"{key} was {before!r}, is {new!r}"


def as_path(value: object) -> object:
    """Normalises paths, so that ./output and output are equal; other texts do not change."""
    return os.path.abspath(value) if isinstance(value, str) and value else value
