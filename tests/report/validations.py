"""Validations made by hand."""
from collections.abc import Sequence

import torch
from torch import Tensor

from lib.dataset import ImageSet
from lib.report.metrics import Evaluated, measure
from lib.report.predictions import TOP, Predictions, predictions_of
from lib.utils.errors import InputError


def made(labels: Sequence[int] | Tensor, predicted: Sequence[int] | Tensor, confidence: float | Tensor = 1.0, nll: float = 0.0,
         rank: Sequence[int] | Tensor | None = None) -> Predictions:
    """What is predicted first, with its confidence; of the other classes nothing is known."""
    labels, predicted = torch.as_tensor(labels), torch.as_tensor(predicted)
    rank = (labels != predicted).long() if rank is None else torch.as_tensor(rank)
    confidence = torch.as_tensor(confidence, dtype=torch.float).expand(len(labels)).clone()
    top, probabilities = torch.full((len(labels), TOP), -1, dtype=torch.int32), torch.zeros(len(labels), TOP)
    top[:, 0], probabilities[:, 0] = predicted, confidence
    return Predictions(labels, predicted, rank, confidence, torch.full((len(labels),), nll), top, probabilities)


class Pictures(ImageSet):
    """Images of one colour each, some of which cannot be read; small ones and large ones, high and wide ones."""

    def __init__(self, labels: Sequence[int] | Tensor, class_names: Sequence[str], broken: Sequence[int] = ()) -> None:
        super().__init__("pictures", torch.as_tensor(labels), class_names, [0.5] * 3, [0.25] * 3)
        self.broken = set(broken)

    def path(self, index: int) -> str:
        return f"/data/<b>&'\"{index}.jpg"

    def read(self, index: int) -> Tensor:
        if index in self.broken:
            raise InputError(f"pictures[{index}]: is damaged")
        height, width = ((12, 12), (900, 300), (40, 700))[index % 3]
        return torch.full((3, height, width), 20 * index % 256, dtype=torch.uint8)


NAMES = ["</title><script>document.title='?'</script>", "a & b \"c\" 'd'", "=1+1", "snow\u2603 日本語 עברית",
         "two\nlines\x1b[31m caf\udce9", "x" * 300, "$x_1$", "no images"]
EVIL = "</script><img src=x onerror=alert(1)>"
COUNTS = [400, 150, 60, 40, 19, 6, 3, 1]   # for training
IMAGES = [30, 20, 10, 8, 6, 4, 2, 0]       # for validation


def messy(unreadable: Sequence[int] = (), broken: Sequence[int] = ()) -> Evaluated:
    """A validation with names of every kind, few-shot classes, and a class without images.

    Args:
        unreadable: images in whose place others were evaluated.
        broken: images that cannot be read any more.
    """
    labels = torch.arange(len(NAMES)).repeat_interleave(torch.tensor(IMAGES))
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(labels), len(NAMES), generator=generator) + torch.tensor(COUNTS).log() / 4
    logits[torch.arange(len(labels)), labels] += 1
    predictions = predictions_of(logits, labels)
    images = Pictures(labels, NAMES, [*unreadable, *broken])
    return Evaluated(predictions, measure(predictions, torch.tensor(COUNTS)), images, dict.fromkeys(unreadable, "it is damaged"))
