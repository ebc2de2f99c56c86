"""From the last feature maps to what the classifier sees, one file each; a file in this folder registers itself."""
from lib.modules.poolings.base import POOLINGS, Pooling
from lib.utils.registry import import_submodules

import_submodules("lib.modules.poolings")

__all__ = ["POOLINGS", "Pooling"]
