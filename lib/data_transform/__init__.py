"""Transforms of images, by name as in the configs; a file in this folder registers itself."""
from lib.data_transform.base import TRANSFORMS, Source, Transform, normalize
from lib.utils.registry import import_submodules

import_submodules("lib.data_transform")

__all__ = ["TRANSFORMS", "Source", "Transform", "normalize"]
