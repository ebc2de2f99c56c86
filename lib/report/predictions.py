"""The predictions that evaluation keeps for each image, and the confusion matrix."""
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TOP = 5           # number of most probable classes that are kept for each image
MAX_CELLS = 100   # largest number of rows of a confusion matrix; with more classes, several share a row


class Predictions(NamedTuple):
    """The predictions for a set of images: 72 bytes for each image, regardless of the number of classes."""

    labels: Tensor       # int64, (N,), like the next four
    predicted: Tensor    # int64, argmax of the logits
    rank: Tensor         # int64, number of classes ahead of the true one; 0 if it is predicted correctly
    confidence: Tensor   # float32, probability of the predicted class
    nll: Tensor          # float32, −log probability of the true class
    top: Tensor          # int32, (N, 5), the most probable classes, most probable first; −1 if there are fewer classes
    probabilities: Tensor   # float32, (N, 5), their probabilities; 0 if there are fewer classes

    @classmethod
    def empty(cls, num_images: int, device: torch.device) -> "Predictions":
        """Allocates memory for all images, into which ``put`` writes batch by batch. Keeping many small tensors instead would
        fragment memory: on a CPU it would grow with every batch by the size of its logits (B, C)."""
        kinds = (torch.long, torch.long, torch.long, torch.float, torch.float)
        single = (torch.empty(num_images, dtype=kind, device=device) for kind in kinds)
        return cls(*single, *(torch.empty(num_images, TOP, dtype=kind, device=device) for kind in (torch.int32, torch.float)))

    def put(self, rows: slice, part: "Predictions") -> None:
        for column, values in zip(self, part):
            column[rows] = values


def predictions_of(logits: Tensor, labels: Tensor) -> Predictions:
    """The predictions of a batch, from (B, C) logits and (B,) labels, on their device. Among equal logits the lowest class comes
    first, as in argmax; a true class whose logit is NaN comes last."""
    logits = logits.float()
    log_probabilities = logits.log_softmax(dim=1)
    true = logits.gather(1, labels[:, None])
    top = top_classes(logits)
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    behind = (logits < true) | ((logits == true) & ~before)   # includes the true class, unless its logit is NaN
    rank = (~behind).sum(dim=1)
    nll = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    probabilities = log_probabilities.gather(1, top).exp()
    room = (0, TOP - top.shape[1])
    return Predictions(labels, top[:, 0], rank, log_probabilities.max(dim=1).values.exp(), nll,
                       F.pad(top, room, value=-1).int(), F.pad(probabilities, room))


def top_classes(logits: Tensor) -> Tensor:
    """The classes of the largest logits, (B, min(5, C)). ``topk`` is not used, since its order of equal logits is arbitrary."""
    logits = logits.clamp(min=torch.finfo(logits.dtype).min)   # a copy without −inf, which marks the classes already taken
    places = []
    for _ in range(min(TOP, logits.shape[1])):
        places.append(logits.argmax(dim=1, keepdim=True))
        logits.scatter_(1, places[-1], -torch.inf)
    return torch.cat(places, dim=1)


class Confusion(NamedTuple):
    """A confusion matrix: rows are true classes, columns predicted ones, both ordered by training images; if there are many
    classes, several share a row."""

    counts: np.ndarray   # (R, R)
    order: np.ndarray    # (C,), classes from frequent to rare
    edges: np.ndarray    # (R + 1,), position in ``order`` at which each row begins


def confusion(predictions: Predictions, class_counts: Tensor, max_cells: int = MAX_CELLS) -> Confusion:
    """The confusion matrix with at most ``max_cells`` rows; memory is O(N + C + R²), not O(C²)."""
    order = np.argsort(-class_counts.numpy(), kind="stable")
    rows = min(len(order), max_cells)
    edges = np.linspace(0, len(order), rows + 1).round().astype(int)
    cell = np.empty(len(order), dtype=int)
    cell[order] = np.repeat(np.arange(rows), np.diff(edges))
    flat = cell[predictions.labels.numpy()] * rows + cell[predictions.predicted.numpy()]
    return Confusion(np.bincount(flat, minlength=rows * rows).reshape(rows, rows), order, edges)
