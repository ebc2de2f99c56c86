"""Combiners, which turn a batch into a loss (mixup and others), one file each; a file in this folder registers itself."""
from lib.combiner.base import COMBINERS, Combiner, Step
from lib.utils.registry import import_submodules

import_submodules("lib.combiner")

__all__ = ["COMBINERS", "Combiner", "Step"]
