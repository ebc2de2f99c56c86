"""From features to logits."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.utils.registry import Registry

CLASSIFIERS = Registry("classifier")


@CLASSIFIERS.register("FC")
class FC(nn.Linear):
    """Linear layer, (B, D) to (B, C), with torch's initialisation."""

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias)


@CLASSIFIERS.register("FCNorm")
class FCNorm(nn.Module):
    """Cosine of features and class vectors, (B, D) to (B, C), each in [−1, 1].

    ``weight`` is (D, C), as in the code of Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss, NeurIPS 2019, arXiv:1906.07413: uniform in [−1, 1], then columns of length 1.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(num_features, num_classes).uniform_(-1, 1), dim=0))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1) @ F.normalize(self.weight, dim=0)
