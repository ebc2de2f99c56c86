"""Learnable weight scaling (LWS): one learnable scale per class."""
import logging

import torch
from torch import Tensor, nn

from lib.modules.classifiers.base import CLASSIFIERS, Classifier, Origin
from lib.modules.classifiers.linear import FC
from lib.utils.errors import InputError

log = logging.getLogger(__name__)


@CLASSIFIERS.register("LWS")
class LWS(Classifier):
    """Learnable weight scaling: the logits of a first stage's linear layer, each times the scale of its class.

    logits_c = s_c · (w_c · x + b_c), (B, D) to (B, C); w and b are frozen unless ``train_fc``, s starts at 1 and is learned.
    Kang et al. (see cRT); theirs has no bias. The first stage may have FC or cRT; if it has LWS, training continues with its
    scales.

    Args:
        train_fc: w and b are learned as well, most often at a lower rate (LR_FACTORS "classifier.fc=0.2"): MiSLAS, Zhong et al.,
            Improving Calibration for Long-Tailed Recognition, CVPR 2021, arXiv:2104.00466.
    """

    second_stage = True
    has_weight = False
    fresh = ("scales",)
    why_no_tau_norm = "its learned scales already do what tau-normalization does"

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True, train_fc: bool = False) -> None:
        super().__init__()
        self.fc = FC(num_features, num_classes, bias=bias).requires_grad_(train_fc)
        self.scales = nn.Parameter(torch.ones(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * self.fc(features)

    def class_vectors(self) -> Tensor:
        """The class vectors, (C, D), as for FC."""
        return self.scales[:, None] * self.fc.weight

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        if "scales" in tensors or "fc.weight" in tensors:   # the published cRT calls its layer fc
            return tensors
        return linear_of_first_stage("LWS", self.fc, tensors, origin)


def linear_of_first_stage(name: str, fc: FC, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
    """The linear layer of a first stage, under the names of a second stage that keeps it as ``fc``.

    Args:
        name: CLASSIFIER.TYPE of the second stage, for messages.

    Raises:
        InputError: the first stage has a cosine classifier.
    """
    shape, own = tensors["weight"].shape if "weight" in tensors else None, fc.weight.shape
    if origin.cosine or shape == own[::-1] != own:
        raise InputError(f"{origin.source} has the cosine classifier FCNorm, but {name} needs a linear "
                         "one; CLASSIFIER.TYPE cRT trains a new classifier after any first stage")
    if shape == own and "bias" not in tensors and origin.cosine is None:
        if fc.bias is not None:
            raise InputError(f"{origin.source} has a classifier without bias. If it is a linear layer, set CLASSIFIER.BIAS to "
                             f"False; if it is the cosine classifier FCNorm, {name} cannot use it, and CLASSIFIER.TYPE cRT "
                             "trains a new one")
        log.warning("%s does not say whether its classifier is a linear layer or the cosine classifier FCNorm, which %s cannot "
                    "use; it is assumed to be a linear layer", origin.source, name)
    return {f"fc.{key}": value for key, value in tensors.items()}
