"""Losses, one file each; a file in this folder registers itself."""
from lib.loss.base import LOSSES, LongTailLoss, WeightedLoss
from lib.loss.dive_kld import DiVEKLD
from lib.utils.registry import import_submodules

import_submodules("lib.loss")

__all__ = ["LOSSES", "DiVEKLD", "LongTailLoss", "WeightedLoss"]
