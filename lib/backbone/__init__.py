"""Backbones, named stages from images to feature maps; a file in this folder registers itself."""
from lib.backbone.base import BACKBONES, Backbone, Undrawn, on_meta
from lib.utils.registry import import_submodules

import_submodules("lib.backbone")

__all__ = ["BACKBONES", "Backbone", "Undrawn", "on_meta"]
