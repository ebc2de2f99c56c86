"""Global average pooling."""
from torch import Tensor

from lib.modules.poolings.base import POOLINGS, Pooling


@POOLINGS.register("GAP")
class GlobalAveragePooling(Pooling):
    """Global average pooling: the mean over the positions, (B, D, h, w) to (B, D, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        return num_features
