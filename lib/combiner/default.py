"""The plain combiner, without mixing."""
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step


@COMBINERS.register("default")
class PlainLoss(Combiner):
    """The plain combiner: the loss of the unmixed batch. With the bbn sampler a batch holds both rows, one after the other."""

    def combine(self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor,
                *drawn: Tensor) -> Step:
        output = network(images)
        return Step(criterion(output, labels), output.logits, labels)
