"""The plain update rule, with one backward pass."""
from torch import Tensor

from lib.combiner import Step
from lib.update.base import UPDATES, Losses, Update, Weights


@UPDATES.register("plain")
class PlainUpdate(Update):
    """The plain update rule: the optimizer's step along the gradient of the loss."""

    def __call__(self, losses: Losses, weights: Weights) -> tuple[Step, Tensor | float]:
        return weights.backward(losses), weights.update()
