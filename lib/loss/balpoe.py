"""BalPoE: experts that are trained for different class distributions."""
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, log_prior, weighted_mean
from lib.utils.errors import InputError
from lib.utils.options import Numbers, Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("BalPoE")
class BalPoE(LongTailLoss):
    """Balanced product of experts: (1 / E) Σ_e CE(z_e + τ_e · log p), p_c = n_c / N; evaluation uses the mean of the experts'
    logits, without adjustment.

    The mean of τ_e should be 1, so that the mean of the experts is a balanced classifier. Aimar et al., Balanced Product of
    Calibrated Experts for Long-Tailed Recognition, CVPR 2023, arXiv:2206.05260; τ 0, 1, 2 for CIFAR, 0, 1.25, 2.5 for
    ImageNet-LT, −1, 1, 3 for iNaturalist. A class without training images is masked out of the loss for every τ.

    Args:
        taus: τ of each expert. If the network has another number of experts, their τ are evenly spaced from the first value to
            the last.

    Raises:
        ValueError: called with an output that has no head ``experts``, (B, E, C).
    """

    deferrable = False
    needs_experts = True
    prior_tau = 1.0

    log_prior: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *,
                 taus: Annotated[Sequence[float], Numbers(Range(-10, 10), most=64)] = (0.0, 1.0, 2.0)) -> None:
        super().__init__(class_counts, deferred)
        if not taus:
            raise InputError("LOSS.BalPoE.TAUS: is empty; give one tau per expert, such as [0, 1, 2]")
        self.taus = tuple(float(tau) for tau in taus)
        self.prior_tau = sum(self.taus) / len(self.taus)   # of the mean of the experts' logits
        self.register_buffer("log_prior", log_prior(class_counts).float(), persistent=False)

    def shifts(self, num_experts: int, dtype: torch.dtype) -> Tensor:
        """τ_e · log p_c, (E, C); −∞ for a class without images."""
        taus = self.taus
        if len(taus) != num_experts:
            places = [number / max(num_experts - 1, 1) for number in range(num_experts)]
            taus = tuple(taus[0] + place * (taus[-1] - taus[0]) for place in places)
        prior = self.log_prior.to(dtype)
        empty = prior == -torch.inf
        finite = prior.masked_fill(empty, 0)
        return torch.stack([(tau * finite).masked_fill(empty, -torch.inf) for tau in taus])

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        heads = Output.of(output).heads
        if "experts" not in heads:
            raise ValueError("BalPoE needs the head 'experts' (the logits of each expert); NETWORK.EXPERTS.NUM 2 or more adds it")
        logits = at_least_float32(heads["experts"])
        known = self.class_counts[targets] > 0   # the loss of a label of an empty class would be infinite; it is set to 0
        own = targets[:, None] == torch.arange(logits.shape[2], device=logits.device)
        shifts = torch.where((own & ~known[:, None])[:, None], 0, self.shifts(logits.shape[1], logits.dtype))
        labels = targets[:, None].expand(-1, logits.shape[1])
        losses = F.cross_entropy((logits + shifts).transpose(1, 2), labels, reduction="none").mean(dim=1)
        return weighted_mean(torch.where(known, losses, 0), None, sample_weight)
