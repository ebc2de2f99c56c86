"""Warnings about adjusting logits by a training prior."""
from collections.abc import Mapping
from typing import Any

from lib.dataset import SAMPLERS
from lib.loss import LongTailLoss


def prior_doubts(values: Mapping[str, Any], criterion: LongTailLoss) -> list[str]:
    """Warnings about a logit adjustment whose training prior, that of the class counts, is not the prior in the logits.

    Args:
        values: configuration of the training, full key to value.
    """
    doubts, drw = [], values.get("TRAIN.TWO_STAGE.DRW", False)
    sampler = values.get("TRAIN.SAMPLER.TYPE", "default")
    if criterion.prior_tau is None or (criterion.prior_tau == 0 and drw):
        doubts.append(f"the logits are adjusted as after training with plain cross-entropy, but {values.get('LOSS.LOSS_TYPE')}"
                      f"{' with DRW' if drw else ''} re-balances in another way")
    if sampler != "default" and (sampler not in SAMPLERS or SAMPLERS[sampler].rows == 1):
        doubts.append(f"the logits are adjusted by the class counts, but TRAIN.SAMPLER.TYPE {sampler!r} trained with another "
                      "class distribution")
    return doubts
