"""A teacher beside the network."""
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step
from lib.net import Network
from lib.utils.options import FromCheckpoint
from lib.utils.tensors import digest_weights


@COMBINERS.register("dive")
class Distillation(Combiner):
    """The batch as it is, with the logits that a trained network gives for it, as the head ``teacher`` of the output.

    The teacher sees the same images, stays in eval mode and is not trained.
    He et al., Distilling Virtual Examples for Long-Tailed Recognition, ICCV 2021, arXiv:2103.15042.

    Args:
        teacher_model: the teacher; build makes it from the checkpoint that the configuration names.
    """

    needs_loss = "DiVEKLD"

    def __init__(self, class_counts: Tensor, *, teacher_model: Annotated[Network, FromCheckpoint("the teacher")]) -> None:
        super().__init__(class_counts)
        self.teacher = teacher_model.requires_grad_(False)
        self.teacher.always_eval = True
        self.teacher.eval()
        self.digest = digest_weights(teacher_model.state_dict())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Empty: the teacher is in a file of its own, and ``origin`` tells whether it is the same."""
        return {}

    def origin(self) -> str:
        return self.digest

    def combine(self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor,
                *drawn: Tensor) -> Step:
        with torch.no_grad():
            teacher_logits = self.teacher(images).logits
        output = network(images)
        return Step(criterion(output.with_head("teacher", teacher_logits), labels), output.logits, labels)
