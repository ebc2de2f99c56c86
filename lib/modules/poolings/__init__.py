"""Poolings, from the last feature maps to the input of the classifier, one file each; a file in this folder registers itself."""
from lib.modules.poolings.base import POOLINGS, Pooling
from lib.utils.registry import import_submodules

import_submodules("lib.modules.poolings")

__all__ = ["POOLINGS", "Pooling"]
