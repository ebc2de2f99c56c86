"""No pooling."""
from torch import Tensor

from lib.modules.poolings.base import POOLINGS, Pooling


@POOLINGS.register("Identity")
class NoPooling(Pooling):
    """No pooling: the classifier takes all positions, D · h · w features. (The published one has D, so it could not run.)"""

    def forward(self, maps: Tensor) -> Tensor:
        return maps

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        return num_features * height * width
