"""The configuration that a checkpoint holds, as a tree again."""
from collections.abc import Mapping
from typing import Any

from lib.config.default import TREE
from lib.config.node import Config

# what a network in use depends on
SECTIONS = ("BACKBONE.", "MODULE.", "CLASSIFIER.", "NETWORK.EXPERTS.", "HEADS.", "LOSS.", "DATASET.", "TRANSFORMS.")
KEYS = ("INPUT_SIZE", "COLOR_SPACE")


def stored_tree(flat: Mapping[str, Any]) -> Config:
    """The default tree with what a checkpoint says of the network and of the preparation of images, by full key.

    Keys of other versions, and values of another type than here, leave the default.
    """
    tree = TREE.clone()
    for key, default in TREE.flat().items():
        if (key in KEYS or key.startswith(SECTIONS)) and type(flat.get(key)) is type(default):
            tree.put(key, flat[key])
    return tree
