"""A linear layer."""
from torch import Tensor, nn

from lib.modules.classifiers.base import CLASSIFIERS, Classifier


@CLASSIFIERS.register("FC")
class FC(Classifier, nn.Linear):
    """Linear layer, (B, D) to (B, C), with torch's initialisation."""

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias)

    def class_vectors(self) -> Tensor:
        """The class vectors, (C, D): a logit is class vector · features + bias."""
        return self.weight
