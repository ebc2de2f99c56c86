"""What follows the backbone: pooling and classifier."""
from lib.modules.classifiers import CLASSIFIERS
from lib.modules.pooling import POOLINGS
from lib.modules.tau_norm import TauNormalized

__all__ = ["CLASSIFIERS", "POOLINGS", "TauNormalized"]
