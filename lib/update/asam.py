"""Adaptive sharpness-aware minimization: the perturbation of each weight is scaled by its magnitude."""
from typing import Annotated

import torch
from torch import Tensor, nn

from lib.update.base import UPDATES
from lib.update.sam import SAM
from lib.utils.options import Choice, Range


@UPDATES.register("asam")
class ASAM(SAM):
    """Adaptive SAM: ε = rho · T² g / (‖T g‖₂ + 1e-16), T = |w| + eta for parameters called ``weight`` (also BatchNorm's), else 1.

    Everything else is as in SAM. Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep
    Neural Networks, ICML 2021, arXiv:2102.11600.

    Args:
        rho: about ten times SAM's; published 0.5 for CIFAR-10 and 1 for CIFAR-100.
        eta: published 0.01.
    """

    small = 1e-16

    def __init__(self, *, rho: Annotated[float, Range(0, 100)] = 0.5, eta: Annotated[float, Range(0, 100)] = 0.01,
                 bn: Annotated[str, Choice("both", "first")] = "both", local: bool = False) -> None:
        super().__init__(rho=rho, bn=bn, local=local)
        self.eta = eta

    def scales(self, network: nn.Module, moved: list[Tensor]) -> list[Tensor]:
        weights = {id(parameter) for name, parameter in network.named_parameters() if "weight" in name}
        return [parameter.detach().abs() + self.eta if id(parameter) in weights else torch.ones_like(parameter)
                for parameter in moved]
