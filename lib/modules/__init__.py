"""The parts of a network after its backbone: pooling, classifier and further heads."""
from lib.modules.classifiers import CLASSIFIERS, Classifier, ExpertClassifiers
from lib.modules.heads import HEADS, NetworkHead
from lib.modules.poolings import POOLINGS, Pooling
from lib.modules.tau_norm import TauNormalized

__all__ = ["CLASSIFIERS", "HEADS", "POOLINGS", "Classifier", "ExpertClassifiers", "NetworkHead", "Pooling", "TauNormalized"]
