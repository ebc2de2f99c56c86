"""What the tests of losses share: class profiles, one batch, and one way to make and to call every loss."""
import torch
from torch import Tensor

from lib.loss import LOSSES, LongTailLoss
from lib.utils.output import Output
from lib.utils.schedule import Deferred

COUNTS = {
    "long-tailed": [500, 120, 37, 9, 2], "equal": [40, 40, 40, 40, 40], "an empty class": [300, 0, 20, 5, 1],
    "one image each": [1, 1, 1, 1, 1], "one class": [7, 0, 0, 0, 0],
}
LONG_TAILED = torch.tensor(COUNTS["long-tailed"])
SIZE, CLASSES, FEATURES = 12, 5, 7
NAMES = sorted(LOSSES)
DEFERRABLE = [name for name in NAMES if LOSSES[name].deferrable]

random = torch.Generator().manual_seed(0)
LABELS = torch.randint(CLASSES, (SIZE,), generator=random)
# of normal numbers with deviation 2, in eighths, so that half precision holds them exactly
LOGITS, TEACHER, SEEN, *OTHERS = ((16 * torch.randn(SIZE, width, generator=random, dtype=torch.double)).round() / 8
                         for width in (CLASSES, CLASSES, FEATURES, CLASSES, CLASSES))   # SEEN: the features


def labels_of(counts: list[int]) -> Tensor:
    """The batch's labels, those of empty classes replaced by 0."""
    return torch.where(torch.tensor(counts)[LABELS] > 0, LABELS, 0)


def make(name: str, counts: Tensor | list[int] = LONG_TAILED, active: bool = True, **options: object) -> LongTailLoss:
    """In DRW's second or first stage; a loss that cannot be deferred is as it is."""
    deferred = Deferred(0 if active else 10**6) if LOSSES[name].deferrable else None
    return LOSSES[name](torch.as_tensor(counts), deferred, **options)


def call(loss: LongTailLoss, logits: Tensor = LOGITS, labels: Tensor = LABELS, sample_weight: Tensor | None = None) -> Tensor:
    """With features, teacher and experts for whoever needs them, in the precision of the logits."""
    size = len(logits)
    experts = torch.stack([logits, *(other[:size].to(logits) for other in OTHERS)], dim=1)
    heads = {"teacher": TEACHER[:size].to(logits), "experts": experts}
    return loss(Output(logits, SEEN[:size].to(logits), heads), labels, sample_weight)
