"""Second stages that calibrate the logits of a frozen first stage with a few learned numbers per class."""
import torch
from torch import Tensor, nn

from lib.modules.classifiers.base import CLASSIFIERS, Classifier, Origin
from lib.modules.classifiers.linear import FC
from lib.modules.classifiers.lws import linear_of_first_stage


class Calibrated(Classifier):
    """The linear layer of a first stage, frozen as ``fc``, with a scale and a shift for each class."""

    second_stage = True
    has_weight = False
    why_no_tau_norm = "its learned scales already do what tau-normalization does"

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc = FC(num_features, num_classes, bias=bias).requires_grad_(False)
        self.scales, self.shifts = nn.Parameter(torch.ones(num_classes)), nn.Parameter(self.first_shifts(num_classes))

    def first_shifts(self, num_classes: int) -> Tensor:
        return torch.zeros(num_classes)

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        if "scales" in tensors or "fc.weight" in tensors:
            return tensors
        return linear_of_first_stage(type(self).__name__, self.fc, tensors, origin)


@CLASSIFIERS.register("DisAlign")
class DisAlign(Calibrated):
    """Distribution alignment: z' = (1 + σ · a) · z + σ · b with a confidence σ = sigmoid(v · x + c) for each example.

    The trained parameters are a, b (C,), v (D,) and c; initially a = 1, b = 0, v = 0.1, as in the authors' code (a = 2 in terms
    of the paper). Zhang et al., Distribution Alignment: A Unified Framework for Long-Tail Visual Recognition, CVPR 2021,
    arXiv:2103.16370, Eq. 7; its loss is GeneralizedReweightCE. The authors' code updates the BatchNorm statistics in this stage;
    the fragment disalign.yaml freezes them (BACKBONE.FREEZE_BN).
    """

    fresh = ("scales", "shifts", "confidence")

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias=bias)
        self.confidence = nn.Linear(num_features, 1)
        nn.init.constant_(self.confidence.weight, 0.1)

    def forward(self, features: Tensor) -> Tensor:
        sigma = torch.sigmoid(self.confidence(features))
        return (1 + sigma * self.scales) * self.fc(features) + sigma * self.shifts


@CLASSIFIERS.register("MARC")
class MARC(Calibrated):
    """Margin calibration: z'_c = a_c · z_c + b_c · ‖w_c‖₂; only a and b, (C,), are trained; both start at 1.

    Wang et al., Margin Calibration for Long-Tailed Visual Recognition, ACML 2022, arXiv:2112.07225; its loss is
    GeneralizedReweightCE.
    """

    fresh = ("scales", "shifts")

    def first_shifts(self, num_classes: int) -> Tensor:
        return torch.ones(num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * self.fc(features) + self.shifts * self.fc.weight.norm(dim=1)
