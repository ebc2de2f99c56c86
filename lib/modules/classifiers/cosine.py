"""Cosine classifiers: the logits are cosines of features and class vectors."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.modules.classifiers.base import CLASSIFIERS, Classifier, Origin
from lib.utils.options import Range


@CLASSIFIERS.register("FCNorm")
class FCNorm(Classifier):
    """Cosine classifier: the cosines of features and class vectors, (B, D) to (B, C), each in [−1, 1].

    ``weight`` (C, D) is initialised uniformly in [−1, 1], then each of its D columns is scaled to length 1, as published. So the
    class vectors have an initial length of about √(D / C), which determines how fast gradient steps rotate them: with an initial
    length of 1, the final accuracy of LDAM-DRW on 1,485 images was 4 points lower with warm-up, and 12 points lower without. The
    code of LDAM (Cao et al., NeurIPS 2019, arXiv:1906.07413) stores the weight as (D, C).
    """

    cosine = True
    why_no_tau_norm = "its class vectors are scaled to length 1 already"

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(num_classes, num_features).uniform_(-1, 1), dim=0))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(features, dim=1), self.class_vectors())

    def class_vectors(self) -> Tensor:
        """The class vectors, (C, D), of length 1: a logit is the cosine of the class vector and the features."""
        return F.normalize(self.weight, dim=1)

    def transposed(self, tensors: dict[str, Tensor], origin: Origin) -> tuple[str, ...]:
        shape, own = tuple(tensors["weight"].shape) if "weight" in tensors else (), tuple(self.weight.shape)
        if shape != own[::-1]:
            return ()
        return ("weight",) if shape != own or origin.features_first else ()


@CLASSIFIERS.register("CosineFC")
class CosineFC(FCNorm):
    """Scaled cosine classifier: the cosines of FCNorm times ``scale``. The scale is in the network, for losses that do not scale
    the logits themselves.

    It is the classifier of RIDE (Wang et al., ICLR 2021, arXiv:2010.01809), BalPoE (Aimar et al., CVPR 2023, arXiv:2206.05260)
    and BCL (Zhu et al., CVPR 2022, arXiv:2207.09052).
    """

    def __init__(self, num_features: int, num_classes: int, *, scale: Annotated[float, Range(0, 1000, without_low=True)] = 30.0
                 ) -> None:
        super().__init__(num_features, num_classes)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * super().forward(features)
