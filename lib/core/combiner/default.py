"""The batch as it is."""
from torch import nn

from lib.core.combiner.base import COMBINERS, Combiner, Step
from lib.dataset import Batch


@COMBINERS.register("default")
class Plain(Combiner):
    """The loss of the batch. With the bbn sampler it holds both rows, one after the other."""

    def forward(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Step:
        logits, features = network(batch.images)
        return Step(criterion(logits, batch.labels, features), logits, batch.labels)
