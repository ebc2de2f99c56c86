"""The contract every update rule follows, and the gradients and weights that it works with."""
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lib.combiner import Step
from lib.device.precision import Precision
from lib.device.runtime import average, average_gradients, num_ranks
from lib.utils.part import Part
from lib.utils.registry import Registry

UPDATES = Registry("update rule")


class Piece(NamedTuple):
    """A part of a batch (TRAIN.UPDATE.ACCUMULATE); by default the whole batch."""

    share: float   # of the batch's examples
    # Forward pass and loss, with the autograd graph; every call uses the same random numbers. With class weights (K, C) the loss
    # is (K,): entry k multiplies each example's term by weights[k, y].
    compute: Callable[..., Step]


Losses = Sequence[Piece]


class Weights:
    """The trained weights: computes their gradients and makes the optimizer's step.

    Args:
        network: as the training step calls it, wrapped in DDP or DataParallel on several devices.
        clip_norm: maximum L2 norm of the gradient over all parameters; 0 turns clipping off.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, precision: Precision, clip_norm: float = 0.0) -> None:
        self.network, self.optimizer, self.precision, self.clip_norm = network, optimizer, precision, clip_norm

    def parameters(self) -> Iterator[Parameter]:
        """All trained parameters, first those of the network, then those of the loss and the combiner."""
        return (parameter for group in self.optimizer.param_groups for parameter in group["params"])

    def clear(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, losses: Losses, local: bool = False, class_weights: Tensor | None = None) -> Step:
        """Adds the gradient of the batch's loss, Σ share · loss over its pieces, to the current gradients.

        Args:
            local: each rank keeps the gradient of its own images; otherwise the gradients are averaged over the ranks.
            class_weights: (C,), multiplies the term of each example in the loss by the weight of its class.

        Returns:
            The loss, logits and targets of the whole batch, detached.
        """
        steps = []
        for number, (share, compute) in enumerate(losses, start=1):
            with self.alone(local or number < len(losses)):
                with self.precision.autocast():
                    step = compute() if class_weights is None else compute(class_weights[None])
                loss = step.loss if class_weights is None else step.loss.sum()
                self.precision.backward(loss if len(losses) == 1 else share * loss, self.optimizer)
            steps.append(Step(loss.detach(), step.logits.detach(), step.targets))
        if num_ranks() > 1 and not local:
            average_gradients(self.outside())
        return steps[0] if len(steps) == 1 else join(steps, [piece.share for piece in losses])

    def gradients_of_parts(self, losses: Losses, class_weights: Tensor) -> tuple[Step, list[dict[Parameter, Tensor]]]:
        """The gradients of K parts of the loss, from one forward pass. The gradients of the parameters are None before and after.

        Args:
            class_weights: (K, C), a row of class weights for each part; each column sums to 1.

        Returns:
            The step of the whole loss, and the gradients of each part, averaged over the ranks.
        """
        steps: list[Step] = []
        parts: list[dict[Parameter, Tensor]] = [{} for _ in class_weights]
        for share, compute in losses:
            with self.alone(True):   # DDP expects one backward pass for each forward pass
                with self.precision.autocast():
                    step = compute(class_weights)
                for number, part in enumerate(parts):
                    self.precision.backward(share * step.loss[number], self.optimizer, keep_graph=number < len(parts) - 1)
                    for parameter in self.parameters():
                        if parameter.grad is not None:
                            part[parameter] = part[parameter] + parameter.grad if parameter in part else parameter.grad
                    self.clear()
            steps.append(Step(step.loss.detach().sum(), step.logits.detach(), step.targets))
        if num_ranks() > 1:
            average(gradient for part in parts for gradient in part.values())
        return (steps[0] if len(steps) == 1 else join(steps, [piece.share for piece in losses])), parts

    def alone(self, local: bool) -> AbstractContextManager:
        return self.network.no_sync() if local and isinstance(self.network, DistributedDataParallel) else nullcontext()

    def outside(self) -> list[Parameter]:
        """Parameters of the loss and the combiner, whose gradients DDP does not average."""
        inside = set(self.network.parameters())
        return [parameter for parameter in self.parameters() if parameter not in inside]

    def update(self) -> Tensor | float:
        """Makes the optimizer's step with the current gradients. Returns 1 if it was skipped because they had overflowed."""
        if self.clip_norm:
            self.precision.unscale(self.optimizer)
            clip_grad_norm_(self.parameters(), self.clip_norm)
        return self.precision.update(self.optimizer)


def join(steps: Sequence[Step], shares: Sequence[float]) -> Step:
    """The step of a batch from the steps of its pieces."""
    loss = torch.stack([share * step.loss for share, step in zip(shares, steps)]).sum()
    return Step(loss, torch.cat([step.logits for step in steps]), torch.cat([step.targets for step in steps]))


class Update(Part):
    """An update rule: updates the weights from the losses of a batch, ``update(losses, weights) -> (step, skipped)``.

    A rule with several passes calls ``weights.backward(losses)`` several times; the batch, its augmentation and the random
    numbers of the combiner stay the same. All gradients are None at the start. ``step`` is logged; ``skipped`` is the result of
    ``weights.update()``.

    Class attributes:
        passes: number of backward passes per step.
        splits_loss: whether it weights the examples in the loss by class (needs ``Combiner.sums_examples``).

    Attributes:
        class_counts: training images per class, (C,), on the device.
    """

    passes = 1
    splits_loss = False
    class_counts: Tensor = torch.ones(0)

    def __call__(self, losses: Losses, weights: Weights) -> tuple[Step, Tensor | float]:
        raise NotImplementedError(f"{type(self).__name__} must implement __call__")
