"""DiVE: distillation from a trained teacher, combined with another loss."""
from typing import Annotated, cast

import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, weighted_mean
from lib.utils.errors import InputError
from lib.utils.options import SHARE, Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("DiVEKLD")
class DiVEKLD(LongTailLoss):
    """The distillation loss of DiVE: factor · [α · T² · KL(q ‖ softmax(z / T)), averaged over the batch, + (1 − α) · base loss];
    DRW applies to the base loss.

    q ∝ softmax(teacher / T) ** power over the classes; power is 1 if ``power_norm`` is False.
    He et al., Distilling Virtual Examples for Long-Tailed Recognition, ICCV 2021, arXiv:2103.15042.

    With the base loss RIDE, α 0.5, T 1.5 and factor 2 it is the distillation of Wang et al., RIDE, ICLR 2021, arXiv:2010.01809:
    RIDE's loss + T² · KL from the teacher to the mean of the experts. The authors' code adds that up once per expert, which is
    factor 2 · E.

    Args:
        factor: of the whole loss.
        baseloss: a loss, or the registered name of one, which is then built with its default options.

    Raises:
        InputError: the base loss is DiVEKLD itself, or DRW is on and the base loss cannot be deferred.
        ValueError: called with an output that has no head ``teacher``, (B, C).
    """

    needs_combiner = "dive"

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, power_norm: bool = False,
                 power: Annotated[float, Range(0, 100, without_low=True)] = 0.5,
                 temperature: Annotated[float, Range(0.01, 1000)] = 3.0, alpha: Annotated[float, SHARE] = 0.5,
                 factor: Annotated[float, Range(0, 1000, without_low=True)] = 1.0,
                 baseloss: Annotated[str | LongTailLoss, LOSSES] = "BalancedSoftmaxCE") -> None:
        super().__init__(class_counts, deferred)
        if isinstance(baseloss, str) and LOSSES[baseloss] is type(self):
            raise InputError("LOSS.DiVEKLD.BASELOSS: cannot be DiVEKLD itself; name another loss, such as BalancedSoftmaxCE")
        self.power = power if power_norm else 1.0
        self.temperature, self.alpha, self.factor = temperature, alpha, factor
        self.base = LOSSES[baseloss](class_counts, deferred) if isinstance(baseloss, str) else baseloss

    @property
    def evaluation_scale(self) -> float:  # type: ignore[override]  # that of the base loss, whatever it is
        return self.base.evaluation_scale

    def on_epoch(self, epoch: int) -> None:
        super().on_epoch(epoch)
        for loss in self.children():   # empty while __init__ of the base class runs
            cast(LongTailLoss, loss).on_epoch(epoch)

    def on_batch(self, seed: int) -> None:
        self.base.on_batch(seed)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        output = Output.of(output)
        if "teacher" not in output.heads:
            raise ValueError("DiVEKLD needs the head 'teacher' (the teacher's logits), which TRAIN.COMBINER.TYPE dive adds")
        logits = at_least_float32(output.logits)
        student = F.log_softmax(logits / self.temperature, dim=1)
        teacher = F.log_softmax(at_least_float32(output.heads["teacher"]) * (self.power / self.temperature), dim=1)
        divergences = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        distillation = self.temperature ** 2 * weighted_mean(divergences, None, sample_weight)
        loss = self.alpha * distillation + (1 - self.alpha) * self.base(output, targets, sample_weight)
        return self.factor * loss
