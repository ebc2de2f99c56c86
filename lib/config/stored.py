"""Rebuilds a configuration tree from the flat configuration in a checkpoint."""
from collections.abc import Mapping
from typing import Any

from lib.config.default import TREE
from lib.config.node import Config

# sections and keys that inference depends on
SECTIONS = ("BACKBONE.", "MODULE.", "CLASSIFIER.", "NETWORK.EXPERTS.", "HEADS.", "LOSS.", "DATASET.", "TRANSFORMS.")
KEYS = ("INPUT_SIZE", "COLOR_SPACE")


def stored_tree(flat: Mapping[str, Any]) -> Config:
    """Sets the keys of the network and of the preprocessing in the default tree to the values in a checkpoint.

    Keys that this version does not know, and values of another type than the default, are ignored.

    Args:
        flat: full key to value.
    """
    tree = TREE.clone()
    for key, default in TREE.flat().items():
        if (key in KEYS or key.startswith(SECTIONS)) and type(flat.get(key)) is type(default):
            tree.put(key, flat[key])
    return tree
