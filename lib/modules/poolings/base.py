"""The contract every pooling follows."""
from torch import Tensor, nn

from lib.utils.registry import Registry

POOLINGS = Registry("pooling module")


class Pooling(nn.Module):
    """A pooling: feature maps (B, D, h, w) to (B, D, h', w'), which are flattened for the classifier.

    The maps of the experts are concatenated as channels, (B, E · D, h, w); a pooling must not mix channels.
    """

    def forward(self, maps: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement forward")

    def num_outputs(self, num_features: int, height: int, width: int) -> int:
        """Number of inputs of the classifier for one image with ``num_features`` feature maps of that height and width."""
        raise NotImplementedError(f"{type(self).__name__} must implement num_outputs")
