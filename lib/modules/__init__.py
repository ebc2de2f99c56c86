"""What follows the backbone: pooling and classifier."""
from lib.modules.classifiers import CLASSIFIERS
from lib.modules.pooling import POOLINGS

__all__ = ["CLASSIFIERS", "POOLINGS"]
