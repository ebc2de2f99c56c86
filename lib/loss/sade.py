"""SADE: three experts, trained for the long-tailed, the uniform and the inverse long-tailed class distribution."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, log_prior, weighted_mean
from lib.utils.options import Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("SADE")
class SADE(LongTailLoss):
    """Skill-diverse experts: CE(z_1) + CE(z_2 + log p) + CE(z_3 + log p − tau · log p⁻), averaged over the batch.

    p⁻ is the prior with its ranks reversed: the rarest class has the prior of the most frequent one, and so on. Evaluation uses
    the mean of the experts' logits, without adjustment. Classes without images are masked out of all three. Zhang et al.,
    Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition, NeurIPS 2022, arXiv:2107.09249.

    Args:
        tau: published 2 for CIFAR-100 and ImageNet-LT, 1 for iNaturalist and Places.

    Raises:
        ValueError: called with an output that has no head ``experts``, (B, 3, C).
    """

    deferrable = False
    needs_experts = True
    num_experts = 3

    shifts: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 tau: Annotated[float, Range(-10, 10)] = 2.0) -> None:
        super().__init__(class_counts, deferred)
        prior = log_prior(class_counts)
        filled = (class_counts > 0).nonzero().flatten()
        order = filled[prior[filled].argsort(stable=True)]   # from the rarest class to the most frequent one
        reverse = prior.clone()
        reverse[order] = prior[order.flip(0)]
        finite, back = (torch.where(class_counts > 0, values, 0) for values in (prior, reverse))
        shifts = torch.stack([torch.zeros_like(finite), finite, finite - tau * back])
        self.register_buffer("shifts", shifts.masked_fill(class_counts == 0, -torch.inf).float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = experts_of(output, "SADE", self.num_experts)
        known = self.class_counts[targets] > 0   # the loss of a label of an empty class would be infinite; it is set to 0
        own = targets[:, None] == torch.arange(logits.shape[2], device=logits.device)
        shifts = torch.where((own & ~known[:, None])[:, None], 0, self.shifts.to(logits.dtype))
        labels = targets[:, None].expand(-1, logits.shape[1])
        losses = F.cross_entropy((logits + shifts).transpose(1, 2), labels, reduction="none").sum(dim=1)
        return weighted_mean(torch.where(known, losses, 0), None, sample_weight)


def experts_of(output: Output | Tensor, loss: str, number: int | None = None) -> Tensor:
    """The logits of each expert, (B, E, C), in float32 or float64."""
    heads = Output.of(output).heads
    if "experts" not in heads or number not in (None, heads["experts"].shape[1]):
        raise ValueError(f"{loss} needs the head 'experts' with the logits of {number or 'several'} experts; "
                         f"NETWORK.EXPERTS.NUM {number or '2 or more'} gives it")
    return at_least_float32(heads["experts"])
