"""The contract every pooling follows."""
from torch import Tensor, nn

from lib.utils.registry import Registry

POOLINGS = Registry("pooling module")


class Pooling(nn.Module):
    """A pooling: feature maps (B, D, h, w) to (B, D, h', w'), which are flattened for the classifier.

    Maps of experts lie one after the other as channels, (B, E · D, h, w); each must be pooled by itself.
    """

    def forward(self, maps: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        """Numbers that the classifier sees of one image, for ``num_features`` maps of that height and width."""
        raise NotImplementedError(f"{type(self).__name__} must say how much it leaves")
