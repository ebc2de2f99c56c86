"""Classifiers, from features to logits, one file each; a file in this folder registers itself."""
from lib.modules.classifiers.base import CLASSIFIERS, Classifier, Origin
from lib.modules.classifiers.experts import ExpertClassifiers
from lib.utils.registry import import_submodules

import_submodules("lib.modules.classifiers")

__all__ = ["CLASSIFIERS", "Classifier", "ExpertClassifiers", "Origin"]
