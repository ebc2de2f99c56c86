"""The projection head: unit vectors for contrastive losses."""
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from lib.modules.classifiers import Classifier
from lib.modules.heads.base import HEADS, NetworkHead
from lib.utils.options import Range
from lib.utils.tensors import at_least_float32

WIDTHS = Range(0, 65536)


def perceptron(num_features: int, hidden: int, dim: int) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, linear; with ``hidden`` 0 the hidden layer is as wide as the input.

    The published first layer has a bias; before BatchNorm it has no effect, so there is none here.
    """
    hidden = hidden or num_features
    return nn.Sequential(nn.Linear(num_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
                         nn.Linear(hidden, dim))


@HEADS.register("projection")
class Projection(NetworkHead):
    """A projection head: features (B, D) to vectors of length 1, (B, dim), in float32.

    Args:
        hidden: width of the hidden layer; 0 means D.
        dim: length of the output vectors.
    """

    def __init__(self, num_features: int, *, hidden: Annotated[int, WIDTHS] = 0,
                 dim: Annotated[int, Range(1, 65536)] = 128) -> None:
        super().__init__(num_features)
        self.layers = perceptron(num_features, hidden, dim)

    def forward(self, features: Tensor, classifier: Classifier) -> Tensor:
        return F.normalize(at_least_float32(self.layers(features)), dim=1)
