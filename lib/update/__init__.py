"""Update rules, by which a batch changes the weights, one file each; a file in this folder registers itself."""
from lib.update.base import UPDATES, Losses, Piece, Update, Weights
from lib.utils.registry import import_submodules

import_submodules("lib.update")

__all__ = ["UPDATES", "Losses", "Piece", "Update", "Weights"]
