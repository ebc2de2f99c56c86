"""The contract every loss follows, and the weighted mean that most of them share."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.utils.errors import InputError
from lib.utils.output import Output
from lib.utils.part import Part
from lib.utils.registry import Registry
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32

LOSSES = Registry("loss")


class LongTailLoss(nn.Module, Part):
    """A classification loss that may re-balance classes, from the first epoch on or later (DRW).

    ``criterion(output, targets, sample_weight=None)`` takes the network's ``Output``, or plain (B, C) logits, and (B,) labels,
    and returns a scalar. It is computed in float32 even if the network is in half precision (float64 stays float64).
    ``sample_weight`` (B,) multiplies each example's term, but not the divisor of the mean, so a constant λ gives λ · loss.

    Class attributes:
        rebalances: whether the loss re-balances when DRW is off.
        deferrable: whether the loss re-balances in a way that DRW could defer.
        needs_classifier: the only classifier that the loss works with; None for any.
        needs_combiner: the only combiner that the loss works with; None for any.
        needs_experts: whether it reads the logits of each expert (NETWORK.EXPERTS.NUM), ``heads["experts"]``.
        num_experts: the number of experts that it requires; None for any.
        prior_tau: τ, if the loss adds τ · log p of the training prior to the logits, so that the logits that are evaluated are
            adjusted already; 0 for plain losses, None if the loss re-balances in another way.
        mixes: whether it can be computed for the two labels of a mixed example (mixup). False for losses that depend on which
            examples of the batch share a label.

    Attributes:
        evaluation_scale: factor by which evaluation multiplies the logits before the softmax; above 1 for cosines.

    Args:
        class_counts: training images per class, (C,); classes may be empty, but not all of them.
        deferred: when re-balancing starts (DRW); if None, ``rebalances`` decides.

    Raises:
        InputError: DRW is on and the loss cannot be deferred, or there are no training images.
    """

    rebalances = True
    deferrable = True
    needs_classifier: str | None = None
    needs_combiner: str | None = None
    needs_experts = False
    num_experts: int | None = None
    prior_tau: float | None = None
    mixes = True
    evaluation_scale: float = 1.0
    class_counts: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None) -> None:
        super().__init__()
        if deferred and not self.deferrable:
            raise InputError(f"TRAIN.TWO_STAGE.DRW: {type(self).__name__} has no re-balancing to defer; set DRW to False")
        if class_counts.sum() == 0:
            raise InputError(f"{type(self).__name__}: there are no training images (all class counts are 0)")
        self.register_buffer("class_counts", class_counts.long(), persistent=False)
        self.deferred = deferred
        self.on_epoch(1)

    def on_epoch(self, epoch: int) -> None:
        """Sets whether the loss re-balances in this epoch (the first epoch is 1)."""
        self.active = self.deferred.active(epoch) if self.deferred else self.rebalances

    def on_batch(self, seed: int) -> None:
        """Gives the loss the seed of the next batch. A loss with random numbers draws them from this seed; most draw none."""

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement forward")


class WeightedLoss(LongTailLoss):
    """A loss that is the weighted mean Σ w_y ℓ / Σ w_y over the batch, where ``per_example`` computes ℓ.

    It is 0 if all weights of a batch are 0 (only labels of empty classes).

    Args:
        class_weights: weights of the re-balanced stage, (C,); default n_min / n_c.
    """

    class_weights: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None,
                 class_weights: Tensor | None = None) -> None:
        super().__init__(class_counts, deferred)
        weights = rarity(class_counts) if class_weights is None else class_weights
        self.register_buffer("class_weights", weights.float(), persistent=False)

    def per_example(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, (B,), from (B, C) logits in float32 or float64 and (B,) labels."""
        raise NotImplementedError(f"{type(self).__name__} must implement per_example")

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        losses = self.per_example(at_least_float32(Output.of(output).logits), targets)
        weights = self.class_weights.to(losses.dtype)[targets] if self.active else None
        return weighted_mean(losses, weights, sample_weight)


def weighted_mean(losses: Tensor, weights: Tensor | None, sample_weight: Tensor | None) -> Tensor:
    """Σ s w ℓ / Σ w over the batch, (B,) each; Σ s ℓ / B without weights; 0 if all weights are 0."""
    weighted = losses if weights is None else torch.where(weights > 0, weights * losses, 0)
    if sample_weight is not None:
        weighted = sample_weight * weighted
    if weights is None:
        return weighted.mean()
    return weighted.sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def rarity(class_counts: Tensor, power: float = 1.0) -> Tensor:
    """(n_min / n_c) ** power, (C,) in float64; n_min is the smallest non-empty class, and an empty class gets 0."""
    counts = class_counts.double()
    filled = counts > 0
    n_min = torch.where(filled, counts, torch.inf).min()
    return torch.where(filled, (n_min / counts.clamp_min(1)) ** power, 0)


def log_prior(class_counts: Tensor) -> Tensor:
    """log(n_c / N), (C,) in float64; −∞ for an empty class."""
    counts = class_counts.double()
    return torch.log(counts / counts.sum())


def scaled_log_prior(class_counts: Tensor, tau: float) -> Tensor:
    """tau · log(n_c / N), (C,) in float64; −∞ for an empty class, also with tau 0 or below."""
    logs = log_prior(class_counts)
    return torch.where(logs.isfinite(), tau * logs, -torch.inf)


def shifted_cross_entropy(logits: Tensor, shift: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of z + shift for each example, (B,).

    A class without images has the shift −∞, which excludes it from the softmax. The loss of an example with such a label would be
    infinite; it is set to 0. (No training image has such a label.)

    Args:
        logits: (B, C).
        shift: (C,).
        targets: (B,).
    """
    known = shift[targets] > -torch.inf
    own = F.one_hot(targets, logits.shape[1]).bool() & ~known[:, None]
    losses = F.cross_entropy(logits + torch.where(own, 0, shift.to(logits.dtype)), targets, reduction="none")
    return torch.where(known, losses, 0)


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Class-balanced weights, which sum to C, (C,) in float64; an empty class gets 0.

    w_c is proportional to (1 − β) / (1 − β ** n_c): Cui et al., Class-Balanced Loss Based on Effective Number of Samples,
    CVPR 2019, arXiv:1901.05555, section 3.2.
    """
    counts = class_counts.double()
    return sum_to_num_classes(torch.where(counts > 0, (1 - beta) / (1 - beta ** counts.clamp_min(1)), 0))


def sum_to_num_classes(weights: Tensor) -> Tensor:
    return weights * len(weights) / weights.sum()
