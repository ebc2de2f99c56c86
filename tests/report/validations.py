"""Predictions made by hand."""
from collections.abc import Sequence

import torch
from torch import Tensor

from lib.report.predictions import TOP, Predictions


def made(labels: Sequence[int] | Tensor, predicted: Sequence[int] | Tensor, confidence: float | Tensor = 1.0, nll: float = 0.0,
         rank: Sequence[int] | Tensor | None = None) -> Predictions:
    """What is predicted first, with its confidence; of the other classes nothing is known."""
    labels, predicted = torch.as_tensor(labels), torch.as_tensor(predicted)
    rank = (labels != predicted).long() if rank is None else torch.as_tensor(rank)
    confidence = torch.as_tensor(confidence, dtype=torch.float).expand(len(labels)).clone()
    top, probabilities = torch.full((len(labels), TOP), -1, dtype=torch.int32), torch.zeros(len(labels), TOP)
    top[:, 0], probabilities[:, 0] = predicted, confidence
    return Predictions(labels, predicted, rank, confidence, torch.full((len(labels),), nll), top, probabilities)
