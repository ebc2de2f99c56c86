"""Sharpness-aware minimization of a part of the loss: that of rare classes, or one with a weight for each class."""
from typing import Annotated

import torch
from torch import Tensor

from lib.combiner import Step
from lib.update.base import UPDATES, Losses, Weights
from lib.update.sam import SAM, restore, spoil, statistics_stopped
from lib.utils.options import MANY, Choice, Range


class SplitSAM(SAM):
    """The optimizer's step along g_plain(w) + g_sharp(w + ε), ε = rho · g_sharp / (‖g_sharp‖₂ + 1e-12).

    The loss is L_plain + L_sharp; each example's term is divided between them by its class, and both gradients come from one
    forward pass. Everything else is as in SAM.
    """

    passes = 3
    splits_loss = True

    def weights_of_classes(self) -> tuple[Tensor, Tensor]:
        """Weights of the plain and of the sharp part, (C,) each, with a sum of 1."""
        raise NotImplementedError(f"{type(self).__name__} must say what its parts are")

    factor = 1.0   # of the sharp part in the step

    def __call__(self, losses: Losses, weights: Weights) -> tuple[Step, Tensor | float]:
        rows = torch.stack(self.weights_of_classes())
        step, (plain, sharp) = weights.gradients_of_parts(losses, rows)
        moved: list[Tensor] = [*sharp]
        before = [parameter.detach().clone() for parameter in moved]
        norm = self.move(moved, [*sharp.values()])
        with statistics_stopped(weights.network, self.bn == "first"):
            weights.backward(losses, class_weights=self.factor * rows[1])
        restore(moved, before)
        for parameter, gradient in plain.items():
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        spoil(moved, norm)
        return step, weights.update()


@UPDATES.register("imb_sam")
class ImbSAM(SplitSAM):
    """SAM for rare classes only: L_plain is the loss of classes with ``threshold`` images or more, L_sharp that of the others.

    The sharp part counts twice in the step, as in the authors' code. A batch without images of rare classes makes a plain step.
    Zhou et al., ImbSAM: A Closer Look at Sharpness-Aware Minimization in Class-Imbalanced Recognition, ICCV 2023,
    arXiv:2308.07815.

    Args:
        rho: published 0.05.
        threshold: training images from which a class is not rare; published 20 for CIFAR-100.
        bn: as of SAM.
    """

    factor = 2.0

    def __init__(self, *, rho: Annotated[float, Range(0, 100)] = 0.05, threshold: Annotated[int, Range(1, MANY)] = 20,
                 bn: Annotated[str, Choice("both", "first")] = "both") -> None:
        super().__init__(rho=rho, bn=bn)
        self.threshold = threshold

    def weights_of_classes(self) -> tuple[Tensor, Tensor]:
        rare = self.class_counts < self.threshold
        return (~rare).float(), rare.float()


@UPDATES.register("focal_sam")
class FocalSAM(SplitSAM):
    """SAM with a weight for each class: L_sharp has the weights lambda · (1 − p_c) ** gamma, L_plain the rest, p_c = n_c / N.

    Li et al., Focal-SAM: Focal Sharpness-Aware Minimization for Long-Tailed Classification, ICML 2025, arXiv:2505.01660.

    Args:
        rho: published 0.2 for CIFAR-10 and 0.3 for CIFAR-100, with logit adjustment.
        gamma, lambda_: published 3 and 0.5 for CIFAR-10, 3.2 and 0.8 for CIFAR-100, 0.8 and 0.8 for ImageNet-LT.
        bn: as of SAM.
    """

    def __init__(self, *, rho: Annotated[float, Range(0, 100)] = 0.2, gamma: Annotated[float, Range(0, 100)] = 3.0,
                 lambda_: Annotated[float, Range(0, 100)] = 0.5, bn: Annotated[str, Choice("both", "first")] = "both") -> None:
        super().__init__(rho=rho, bn=bn)
        self.gamma, self.lambda_ = gamma, lambda_

    def weights_of_classes(self) -> tuple[Tensor, Tensor]:
        sharp = self.lambda_ * (1 - self.class_counts.double() / self.class_counts.sum()) ** self.gamma
        return (1 - sharp).float(), sharp.float()
