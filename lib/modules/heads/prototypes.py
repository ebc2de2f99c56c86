"""The prototype head: a unit vector for each class, computed from the classifier."""
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from lib.modules.classifiers import Classifier
from lib.modules.heads.base import HEADS, NetworkHead
from lib.modules.heads.projection import WIDTHS, perceptron
from lib.utils.options import Range
from lib.utils.tensors import at_least_float32


@HEADS.register("prototypes")
class Prototypes(NetworkHead):
    """A head of class prototypes: the class vectors of the classifier, (C, D), to vectors of length 1, (1, C, dim), in float32.

    The BatchNorm between the linear layers normalizes over the classes. Zhu et al., BCL, CVPR 2022, arXiv:2207.09052. Under
    DataParallel each device computes its own prototypes; the output is (devices, C, dim).

    Args:
        hidden, dim: as for ``projection``.
    """

    reads_weight = True

    def __init__(self, num_features: int, *, hidden: Annotated[int, WIDTHS] = 0,
                 dim: Annotated[int, Range(1, 65536)] = 128) -> None:
        super().__init__(num_features)
        self.layers = perceptron(num_features, hidden, dim)

    def forward(self, features: Tensor, classifier: Classifier) -> Tensor:
        return F.normalize(at_least_float32(self.layers(classifier.weight)), dim=1)[None]
