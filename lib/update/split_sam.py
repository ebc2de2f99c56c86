"""Sharpness-aware minimization of a part of the loss: rare classes only (ImbSAM), or a weight per class (Focal-SAM)."""
from typing import Annotated

import torch
from torch import Tensor

from lib.combiner import Step
from lib.update.base import UPDATES, Losses, Weights
from lib.update.sam import SAM, restore, spoil, statistics_stopped
from lib.utils.options import MANY, Choice, Range


class SplitSAM(SAM):
    """SAM for a part of the loss: the optimizer's step along g_plain(w) + g_sharp(w + ε), ε = rho · g_sharp / (‖g_sharp‖₂ +
    1e-12).

    The loss is L_plain + L_sharp; the class of an example determines how its term is divided between the two. Both gradients at w
    come from one forward pass. Everything else is as in SAM.
    """

    passes = 3
    splits_loss = True

    def weights_of_classes(self) -> tuple[Tensor, Tensor]:
        """Class weights of the plain and of the sharp part, (C,) each, which sum to 1 for each class."""
        raise NotImplementedError(f"{type(self).__name__} must implement weights_of_classes")

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

    The sharp part has weight 2 in the step, as in the authors' code. A batch without images of rare classes makes a plain step.
    Zhou et al., ImbSAM: A Closer Look at Sharpness-Aware Minimization in Class-Imbalanced Recognition, ICCV 2023,
    arXiv:2308.07815.

    Args:
        rho: published 0.05.
        threshold: classes with fewer training images are rare; published 20 for CIFAR-100.
        bn: as for SAM.
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
    """SAM with a weight for each class: lambda · (1 − p_c) ** gamma in L_sharp, the rest to 1 in L_plain; p_c = n_c / N.

    Li et al., Focal-SAM: Focal Sharpness-Aware Minimization for Long-Tailed Classification, ICML 2025, arXiv:2505.01660.

    Args:
        rho: published 0.2 for CIFAR-10 and 0.3 for CIFAR-100, with logit adjustment.
        gamma, lambda_: published 3 and 0.5 for CIFAR-10, 3.2 and 0.8 for CIFAR-100, 0.8 and 0.8 for ImageNet-LT.
        bn: as for SAM.
    """

    def __init__(self, *, rho: Annotated[float, Range(0, 100)] = 0.2, gamma: Annotated[float, Range(0, 100)] = 3.0,
                 lambda_: Annotated[float, Range(0, 100)] = 0.5, bn: Annotated[str, Choice("both", "first")] = "both") -> None:
        super().__init__(rho=rho, bn=bn)
        self.gamma, self.lambda_ = gamma, lambda_

    def weights_of_classes(self) -> tuple[Tensor, Tensor]:
        sharp = self.lambda_ * (1 - self.class_counts.double() / self.class_counts.sum()) ** self.gamma
        return (1 - sharp).float(), sharp.float()
