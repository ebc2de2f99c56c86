"""One learnable scale per class."""
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

    logits_c = s_c · (w_c · x + b_c), (B, D) to (B, C); w and b are frozen unless ``train_fc``, s begins at 1 and is learned.
    Kang et al., as for cRT; theirs has no bias. A first stage with FC or cRT fits; one with LWS continues with its scales.

    Args:
        train_fc: w and b are learned as well, most often at a lower rate (LR_FACTORS "classifier.fc=0.2"): MiSLAS, Zhong et al.,
            Improving Calibration for Long-Tailed Recognition, CVPR 2021, arXiv:2104.00466.
    """

    second_stage = True
    has_weight = False
    fresh = ("scales",)
    why_no_tau_norm = "its scales are learned in the place of tau, which would undo them"

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True, train_fc: bool = False) -> None:
        super().__init__()
        self.fc = FC(num_features, num_classes, bias=bias).requires_grad_(train_fc)
        self.scales = nn.Parameter(torch.ones(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * self.fc(features)

    def class_vectors(self) -> Tensor:
        """(C, D), as of FC."""
        return self.scales[:, None] * self.fc.weight

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        if "scales" in tensors or "fc.weight" in tensors:   # published cRT names its layer so
            return tensors
        return linear_of_first_stage("LWS", self.fc, tensors, origin)


def linear_of_first_stage(name: str, fc: FC, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
    """The linear layer of a first stage, by the names of a second one that keeps it as ``fc``.

    Args:
        name: CLASSIFIER.TYPE of the second stage, for messages.

    Raises:
        InputError: the first stage has a cosine classifier.
    """
    shape, own = tensors["weight"].shape if "weight" in tensors else None, fc.weight.shape
    if origin.cosine or shape == own[::-1] != own:
        raise InputError(f"{origin.source} has the cosine classifier FCNorm, which {name} cannot scale; "
                         "CLASSIFIER.TYPE cRT starts a new classifier after any")
    if shape == own and "bias" not in tensors and origin.cosine is None:
        if fc.bias is not None:
            raise InputError(f"{origin.source} has a classifier without bias: either the cosines of FCNorm, which {name} cannot "
                             "scale, so that CLASSIFIER.TYPE cRT is needed; or a linear layer, to be loaded with "
                             "CLASSIFIER.BIAS False")
        log.warning("%s does not say whether its classifier is a linear layer or the cosines of FCNorm, which %s cannot "
                    "scale; taken for a linear layer", origin.source, name)
    return {f"fc.{key}": value for key, value in tensors.items()}
