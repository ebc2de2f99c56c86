"""Draws: which images make up an epoch, one file each; a file in this folder registers itself."""
from lib.dataset.sampler.base import SAMPLERS, Draw
from lib.dataset.sampler.batches import EpochBatches, EvalBatches
from lib.dataset.sampler.default import Chosen, Ordered
from lib.utils.registry import import_submodules

import_submodules("lib.dataset.sampler")

__all__ = ["SAMPLERS", "Chosen", "Draw", "EpochBatches", "EvalBatches", "Ordered"]
