"""From predictions to the numbers of long-tailed recognition."""
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.utils.text import printable

TOPS = (1, 2, 3, 5)
MANY, FEW = 100, 20       # many: more than 100 training images; few: fewer than 20; medium: 20 to 100 (Liu et al., CVPR 2019)
ECE_BINS = 15
MAX_CELLS = 100           # rows of a confusion matrix before classes share a row


class Criterion(NamedTuple):
    """A number by which epochs, or values of tau, are compared; higher is better."""

    key: str     # of history.jsonl
    title: str


BEST_BY = {"accuracy": Criterion("valid_accuracy", "Top1"), "balanced": Criterion("balanced", "balanced accuracy"),
           "macro_f1": Criterion("macro_f1", "macro-F1")}   # choices of TEST.BEST_BY


class Predictions(NamedTuple):
    """What evaluation keeps of each image, (N,) each, so that memory is O(N) whatever the number of classes."""

    labels: Tensor       # int64
    predicted: Tensor    # int64, argmax of the logits
    rank: Tensor         # int64, classes ahead of the true one: 0 where it is the predicted one
    confidence: Tensor   # float32, probability of the predicted class
    nll: Tensor          # float32, −log probability of the true class

    @classmethod
    def empty(cls, num_images: int, device: torch.device) -> "Predictions":
        """Room for so many images. Batch after batch is put into it, since small tensors that are kept between the large ones of
        each batch would break memory up, and a CPU's would grow by a batch's logits (B, C) every time."""
        kinds = (torch.long, torch.long, torch.long, torch.float, torch.float)
        return cls(*(torch.empty(num_images, dtype=kind, device=device) for kind in kinds))

    def put(self, rows: slice, part: "Predictions") -> None:
        for column, values in zip(self, part):
            column[rows] = values


def describe(logits: Tensor, labels: Tensor) -> Predictions:
    """(B, C) logits and (B,) labels; stays on the device. Among equal logits the lowest class comes first, as in argmax; where
    the true class's logit is NaN, it comes last."""
    log_probabilities = logits.float().log_softmax(dim=1)
    logits = logits.float()
    true = logits.gather(1, labels[:, None])
    predicted = logits.argmax(dim=1)
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    behind = (logits < true) | ((logits == true) & ~before)   # itself among them, unless it is NaN
    rank = (~behind).sum(dim=1)
    nll = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return Predictions(labels, predicted, rank, log_probabilities.max(dim=1).values.exp(), nll)


@dataclass(frozen=True)
class Metrics:
    """All numbers of one validation. Accuracies are fractions; NaN where a class has no images (recall) or predictions."""

    top: dict[int, float]                # k to accuracy, k no larger than the number of classes
    shots: dict[str, float]              # many, medium, few: mean recall over the group's classes; an empty group is absent
    shot_sizes: dict[str, int]           # classes in each group
    recall: np.ndarray                   # (C,)
    precision: np.ndarray                # (C,)
    f1: np.ndarray                       # (C,)
    train_images: np.ndarray             # (C,)
    valid_images: np.ndarray             # (C,)
    ece: float                           # expected calibration error, 15 bins
    nll: float                           # mean negative log likelihood, in nats

    @property
    def top1(self) -> float:
        return self.top[1]

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have validation images."""
        return float(np.nanmean(self.recall))

    @property
    def macro_f1(self) -> float:
        return float(np.nanmean(self.f1))

    @property
    def geometric_mean(self) -> float:
        """(Π recall_c) ** (1 / C); zero as soon as one class is never recognised."""
        recall = self.recall[~np.isnan(self.recall)]
        return 0.0 if (recall == 0).any() else float(np.exp(np.log(recall).mean()))

    @property
    def worst_class(self) -> int:
        return int(np.nanargmin(self.recall))

    def score(self, best_by: str) -> float:
        """What TEST.BEST_BY compares."""
        return {"accuracy": self.top1, "balanced": self.balanced_accuracy, "macro_f1": self.macro_f1}[best_by]

    def history_entry(self) -> dict[str, Any]:
        """What history.jsonl keeps; a loss that is not finite is None."""
        scores = {criterion.key: self.score(name) for name, criterion in BEST_BY.items()}
        return {"valid_loss": finite_or_none(self.nll), **scores, **self.shots, "recall": nan_to_none(self.recall)}

    def to_dict(self) -> dict[str, Any]:
        """For metrics.json: numbers only, None for NaN."""
        return {
            **{f"top{k}": value for k, value in self.top.items()}, **self.shots,
            "classes": self.shot_sizes, "balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1,
            "geometric_mean": self.geometric_mean, "worst_class": self.worst_class,
            "worst_recall": float(self.recall[self.worst_class]), "images": int(self.valid_images.sum()),
            "ece": finite_or_none(self.ece), "nll": finite_or_none(self.nll),
            "recall": nan_to_none(self.recall), "precision": nan_to_none(self.precision),
        }


def measure(predictions: Predictions, class_counts: Tensor) -> Metrics:
    """All metrics from predictions (on the CPU) and training images per class, (C,).

    Shot groups as in Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019, arXiv:1904.05160. The
    accuracy of a group is the mean recall of its classes, so every class counts the same.
    """
    labels, predicted, rank, confidence, nll = (column.numpy() for column in predictions)
    counts, num_classes = class_counts.numpy(), len(class_counts)
    images, guesses = (np.bincount(column, minlength=num_classes) for column in (labels, predicted))
    hits = np.bincount(labels[rank == 0], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = hits / images, hits / guesses, 2 * hits / (images + guesses)
    f1[images == 0] = np.nan
    groups = {"many": counts > MANY, "medium": (counts >= FEW) & (counts <= MANY), "few": counts < FEW}
    groups = {name: members & (images > 0) for name, members in groups.items()}
    return Metrics(
        top={k: float((rank < k).mean()) for k in TOPS if k <= num_classes},
        shots={name: float(recall[members].mean()) for name, members in groups.items() if members.any()},
        shot_sizes={name: int(members.sum()) for name, members in groups.items() if members.any()},
        recall=recall, precision=precision, f1=f1, train_images=counts, valid_images=images,
        ece=calibration_error(confidence, rank == 0), nll=float(nll.mean(dtype=np.float64)))


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Σ_b |Σ correct − Σ confidence| / N over 15 equal bins of confidence.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, Eq. 5.
    """
    bins = np.clip(np.ceil(confidence.astype(np.float64) * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gap = np.bincount(bins, weights=correct - confidence.astype(np.float64), minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(confidence))


class Confusion(NamedTuple):
    """Counts, true classes down and predicted ones across, ordered by training images; many classes share cells."""

    counts: np.ndarray   # (R, R)
    order: np.ndarray    # (C,), classes from frequent to rare
    edges: np.ndarray    # (R + 1,), positions in ``order`` where each row begins


def confusion(predictions: Predictions, class_counts: Tensor, max_cells: int = MAX_CELLS) -> Confusion:
    """The confusion matrix with at most ``max_cells`` rows: memory is O(N + C + R²), never C²."""
    order = np.argsort(-class_counts.numpy(), kind="stable")
    rows = min(len(order), max_cells)
    edges = np.linspace(0, len(order), rows + 1).round().astype(int)
    cell = np.empty(len(order), dtype=int)
    cell[order] = np.repeat(np.arange(rows), np.diff(edges))
    flat = cell[predictions.labels.numpy()] * rows + cell[predictions.predicted.numpy()]
    return Confusion(np.bincount(flat, minlength=rows * rows).reshape(rows, rows), order, edges)


def finite_or_none(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def nan_to_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def summary(metrics: Metrics) -> str:
    """Top-k and balanced accuracy, and the shot groups, in two lines."""
    top = "".join(f"Top{k}: {100 * value:.2f}%  " for k, value in metrics.top.items())
    top += f"Balanced: {100 * metrics.balanced_accuracy:.2f}%"
    shots = "  ".join(f"{name.capitalize()}: {100 * value:.2f}% ({metrics.shot_sizes[name]} of {len(metrics.recall)} classes)"
                      for name, value in metrics.shots.items())
    return f"{top}\n{shots}"


def class_table(metrics: Metrics, class_names: list[str], max_rows: int = 20) -> str:
    """Recall and precision by class, from frequent to rare; of many classes, the first and the last ones."""
    order = list(np.argsort(-metrics.train_images, kind="stable"))
    left_out = len(order) - max_rows
    shown = order if left_out <= 0 else order[:max_rows // 2] + order[-(max_rows // 2):]
    names = {number: printable(class_names[number]) for number in shown}
    width = max(5, *map(len, names.values()))
    lines = [f"{'class':<{width}}  train images  valid images   recall  precision"]
    for position, number in enumerate(shown):
        if left_out > 0 and position == max_rows // 2:
            lines.append(f"… {left_out} more in per_class.csv …")
        recall, precision = (f"{100 * value:.1f}%" if not np.isnan(value) else "–"
                             for value in (metrics.recall[number], metrics.precision[number]))
        lines.append(f"{names[number]:<{width}}  {metrics.train_images[number]:>12}  {metrics.valid_images[number]:>12}  "
                     f"{recall:>7}  {precision:>9}")
    return "\n".join(lines)
