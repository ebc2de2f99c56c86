"""The contract every further head follows."""
from torch import Tensor, nn

from lib.modules.classifiers import Classifier
from lib.utils.registry import Registry

HEADS = Registry("head")


class NetworkHead(nn.Module):
    """A further output of the network, which a loss or a combiner reads as ``output.heads[name]``; evaluation ignores it.

    Class attributes:
        reads_weight: whether it is computed from the classifier's ``weight``.

    Args:
        num_features: D.
    """

    reads_weight = False

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor, classifier: Classifier) -> Tensor:
        """(B, D) features to a tensor whose first dimension is the batch."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward")
