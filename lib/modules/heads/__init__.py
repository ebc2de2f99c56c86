"""Further outputs of a network besides its logits, one file each; a file in this folder registers itself."""
from lib.modules.heads.base import HEADS, NetworkHead
from lib.utils.registry import import_submodules

import_submodules("lib.modules.heads")

__all__ = ["HEADS", "NetworkHead"]
