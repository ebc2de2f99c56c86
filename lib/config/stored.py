"""Converts the configuration in a checkpoint to a tree."""
from collections.abc import Mapping
from typing import Any

from lib.config.default import TREE
from lib.config.node import Config

# what a network in use depends on
SECTIONS = ("BACKBONE.", "MODULE.", "CLASSIFIER.", "NETWORK.EXPERTS.", "HEADS.", "LOSS.", "DATASET.", "TRANSFORMS.")
KEYS = ("INPUT_SIZE", "COLOR_SPACE")


def stored_tree(flat: Mapping[str, Any]) -> Config:
    """The default tree with the values of a checkpoint for the network and the preprocessing, by full key.

    Keys of other versions and values of another type are ignored.
    """
    tree = TREE.clone()
    for key, default in TREE.flat().items():
        if (key in KEYS or key.startswith(SECTIONS)) and type(flat.get(key)) is type(default):
            tree.put(key, flat[key])
    return tree
