"""MaxNorm: a linear layer with a limit on the norm of its class vectors."""
from typing import Annotated

import torch
from torch import Tensor

from lib.modules.classifiers.base import CLASSIFIERS, Origin
from lib.modules.classifiers.linear import FC
from lib.utils.errors import InputError
from lib.utils.options import SHARE, Choice


@CLASSIFIERS.register("MaxNorm")
class MaxNorm(FC):
    """A second stage that trains the linear layer of a first stage further under the constraint ‖w_c‖ ≤ r, by the projection
    w_c ← w_c · min(1, r / ‖w_c‖); the bias is not constrained.

    r = min ‖w_c‖ + delta · (max ‖w_c‖ − min ‖w_c‖) of the first stage's weights; it stays constant. Alshammari et al.,
    Long-Tailed Recognition via Weight Balancing, CVPR 2022, arXiv:2203.14197. By default the projection is applied once per
    epoch, as in the authors' code; the paper applies it at each step. It does not change gradients or momentum.

    Args:
        delta: position of r between the shortest class vector (0) and the longest (1).
        every: when the class vectors are projected, after each "epoch" or each "step".

    Attributes:
        radius: r, (); infinite until a first stage is loaded.
    """

    second_stage = True
    fresh = ("radius",)

    radius: Tensor

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True, delta: Annotated[float, SHARE] = 0.1,
                 every: Annotated[str, Choice("epoch", "step")] = "epoch") -> None:
        super().__init__(num_features, num_classes, bias=bias)
        self.delta, self.every = delta, every
        self.register_buffer("radius", torch.tensor(torch.inf))

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        if origin.cosine or "weight" not in tensors or tensors["weight"].shape != self.weight.shape:
            raise InputError(f"{origin.source} has no linear classifier of shape {tuple(self.weight.shape)} (classes, features), "
                             "which MaxNorm needs; CLASSIFIER.TYPE cRT trains a new classifier after any first stage")
        lengths = tensors["weight"].float().norm(dim=1)
        radius = lengths.min() + self.delta * (lengths.max() - lengths.min())
        return {name: value for name, value in tensors.items() if name != "radius"} | {"radius": radius}

    @torch.no_grad()
    def project(self) -> None:
        lengths = self.weight.norm(dim=1, keepdim=True)
        self.weight.mul_(torch.where(lengths > self.radius, self.radius / lengths, 1))

    def after_step(self) -> None:
        if self.every == "step":
            self.project()

    def after_epoch(self) -> None:
        if self.every == "epoch":
            self.project()
