"""Distillation: a trained teacher gives its logits for the same batch."""
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lib.combiner.base import COMBINERS, Combiner, Step
from lib.net import Network
from lib.utils.options import FromCheckpoint
from lib.utils.tensors import digest_weights


@COMBINERS.register("dive")
class Distillation(Combiner):
    """Distillation from a trained teacher: its logits for the same batch are added to the output as the head ``teacher``.

    The batch is not mixed. The teacher stays in eval mode and is not trained.
    He et al., Distilling Virtual Examples for Long-Tailed Recognition, ICCV 2021, arXiv:2103.15042.

    Args:
        teacher_model: the teacher; ``build`` loads it from the checkpoint that the configuration names.
    """

    needs_loss = "DiVEKLD"

    def __init__(self, class_counts: Tensor, *, teacher_model: Annotated[Network, FromCheckpoint("the teacher")]) -> None:
        super().__init__(class_counts)
        self.teacher = teacher_model.requires_grad_(False)
        self.teacher.always_eval = True
        self.teacher.eval()
        self.digest = digest_weights(teacher_model.state_dict())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Empty: the teacher has its own file, and ``origin`` identifies it."""
        return {}

    def origin(self) -> str:
        return self.digest

    def combine(self, network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor,
                *drawn: Tensor) -> Step:
        with torch.no_grad():
            teacher_logits = self.teacher(images).logits
        output = network(images)
        return Step(criterion(output.with_head("teacher", teacher_logits), labels), output.logits, labels)
