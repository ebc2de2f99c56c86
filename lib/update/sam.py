"""Sharpness-aware minimization: the step uses the gradient at the worst nearby point."""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.combiner import Step
from lib.update.base import UPDATES, Losses, Update, Weights
from lib.utils.options import Choice, Range


@UPDATES.register("sam")
class SAM(Update):
    """Sharpness-aware minimization: the optimizer's step at w with the gradient at w + ε, where ε = rho · g / (‖g‖₂ + 1e-12) and
    g is the gradient of the same loss at w.

    The norm is over all trained parameters together. Both passes use the same batch, augmentation, mixup and dropout; the
    optimizer applies weight decay at w. Foret et al., Sharpness-Aware Minimization, ICLR 2021, arXiv:2010.01412; for long
    tails Rangwani et al., Escaping Saddle Points for Effective Generalization on Class-Imbalanced Data, NeurIPS 2022,
    arXiv:2212.13827. Loss and accuracy of a step are those of the first pass.

    With loss scaling (float16), a gradient that is not finite in either pass skips the whole step.

    Args:
        rho: radius, the length of ε.
        bn: which passes update the BatchNorm statistics, "both" as published, or "first".
        local: every rank computes its own ε, from its own images.
    """

    passes = 2
    small = 1e-12   # added to the norm, as in the published code

    def __init__(self, *, rho: Annotated[float, Range(0, 100)] = 0.05, bn: Annotated[str, Choice("both", "first")] = "both",
                 local: bool = False) -> None:
        self.rho, self.bn, self.local = rho, bn, local

    def __call__(self, losses: Losses, weights: Weights) -> tuple[Step, Tensor | float]:
        step = weights.backward(losses, local=self.local)
        moved: list[Tensor] = [parameter for parameter in weights.parameters() if parameter.grad is not None]
        before = [parameter.detach().clone() for parameter in moved]
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        norm = self.move(moved, gradients, self.scales(weights.network, moved))
        weights.clear()
        with statistics_stopped(weights.network, self.bn == "first"):
            weights.backward(losses)
        restore(moved, before)
        spoil(moved, norm)
        return step, weights.update()

    def scales(self, network: nn.Module, moved: list[Tensor]) -> list[Tensor] | None:
        """T of each parameter in ε = rho · T² g / ‖T g‖₂; None if T = 1."""
        return None

    @torch.no_grad()
    def move(self, parameters: list[Tensor], gradients: list[Tensor], scales: list[Tensor] | None = None) -> Tensor:
        """Adds ε to the parameters; returns ‖T g‖₂."""
        scaled = gradients if scales is None else list(torch._foreach_mul(gradients, scales))
        norm = torch.stack(torch._foreach_norm(scaled)).norm()
        # if the norm is not finite, the second pass stays at w: NaN weights would spoil the BatchNorm statistics for good
        factor = torch.where(norm.isfinite(), self.rho / (norm + self.small), 0)
        changes = torch._foreach_mul([gradient.nan_to_num(0, 0, 0) for gradient in scaled], factor)
        torch._foreach_add_(parameters, list(changes if scales is None else torch._foreach_mul(changes, scales)))
        return norm


@torch.no_grad()
def restore(parameters: list[Tensor], before: list[Tensor]) -> None:
    """Copies the saved weights back; subtracting ε again would leave a rounding error."""
    torch._foreach_copy_(parameters, before)


@torch.no_grad()
def spoil(parameters: Sequence[Tensor], norm: Tensor) -> None:
    """Sets a gradient to NaN if the norm of the first pass was not finite, so that the step is skipped or the run stops."""
    gradient = next(parameter.grad for parameter in parameters if parameter.grad is not None)
    gradient.add_(norm - norm)   # 0 if finite, else NaN


@contextmanager
def statistics_stopped(network: nn.Module, stopped: bool) -> Iterator[None]:
    """BatchNorm normalises with batch statistics as in training, but does not update its running statistics."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)] if stopped else []
    momenta = [layer.momentum for layer in layers]
    counts = [layer.num_batches_tracked.clone() for layer in layers if layer.num_batches_tracked is not None]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
        tracked = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
        for own, count in zip(tracked, counts):
            own.copy_(count)
