"""How a batch becomes a loss, one file each; a file in this folder registers itself."""
from lib.core.combiner.base import COMBINERS, Combiner, Step
from lib.utils.registry import import_submodules

import_submodules("lib.core.combiner")

__all__ = ["COMBINERS", "Combiner", "Step"]
