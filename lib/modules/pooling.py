"""From the last feature maps to what the classifier sees."""
from torch import Tensor, nn

from lib.utils.registry import Registry

POOLINGS = Registry("pooling module")


@POOLINGS.register("GAP")
class GlobalAveragePooling(nn.Module):
    """Mean over the positions: (B, D, h, w) to (B, D, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        return num_features


@POOLINGS.register("Identity")
class Identity(nn.Identity):
    """All positions: the classifier takes D · h · w features (published: D, so that it could not run)."""

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        return num_features * height * width
