"""Data sets, draws and loaders; a data set in a file of this folder registers itself."""
from lib.dataset.base import DATASETS, ArraySet, ImageSet
from lib.dataset.classes import absent_classes, align, match_classes, shorten_names
from lib.dataset.enlarged import EnlargedSet, enlarge
from lib.dataset.findings import Findings
from lib.dataset.fingerprint import fingerprint
from lib.dataset.folder_set import FolderPart, FolderSet
from lib.dataset.json_set import JsonPart
from lib.dataset.loader import Batch, FileLoader, Loader, MemoryLoader, make_loader
from lib.dataset.sampler import SAMPLERS, Chosen, Draw, EpochBatches, EvalBatches, Ordered
from lib.utils.registry import import_submodules

import_submodules("lib.dataset")

__all__ = ["DATASETS", "SAMPLERS", "ArraySet", "Batch", "Chosen", "Draw", "EnlargedSet", "EpochBatches", "EvalBatches",
           "FileLoader", "Findings", "FolderPart", "FolderSet", "ImageSet", "JsonPart", "Loader", "MemoryLoader", "Ordered",
           "absent_classes", "align", "enlarge", "fingerprint", "make_loader", "match_classes", "shorten_names"]
