"""The metrics of long-tailed recognition, computed from predictions."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from lib.dataset import ImageSet
from lib.report.calibration import calibration_error, maximum_calibration_error, risk_coverage_area
from lib.report.intervals import Interval, mean_interval, recall_intervals, wilson
from lib.report.predictions import Predictions

TOPS = (1, 2, 3, 5)
LEAST_RECALL = 1e-5   # in the harmonic mean, as in the code of LIFT (Shi et al., ICML 2024)


class Criterion(NamedTuple):
    """A metric by which epochs, or values of tau, are compared; higher is better."""

    key: str     # in history.jsonl
    title: str


BEST_BY = {"accuracy": Criterion("valid_accuracy", "Top1"), "balanced": Criterion("balanced", "balanced accuracy"),
           "macro_f1": Criterion("macro_f1", "macro-F1")}   # choices of TEST.BEST_BY


class ShotBounds(NamedTuple):
    """Numbers of training images that separate the shot groups; the defaults are those of Liu et al., Large-Scale Long-Tailed
    Recognition in an Open World, CVPR 2019, arXiv:1904.05160."""

    many: int = 100   # many-shot classes have more
    few: int = 20     # few-shot classes have fewer; the others are medium-shot

    def group(self, images: int) -> str:
        return "many" if images > self.many else "few" if images < self.few else "medium"

    def words(self, group: str) -> str:
        """The range of training images of a group, in words."""
        return {"many": f"more than {self.many:,}", "medium": f"{self.few:,} to {self.many:,}",
                "few": f"fewer than {self.few:,}"}[group]


USUAL = ShotBounds()


@dataclass(frozen=True)
class Metrics:
    """All metrics of one validation, as fractions. Recall is NaN for a class without images, precision without predictions."""

    top: dict[int, float]                # {k: top-k accuracy}, for k up to the number of classes
    shots: dict[str, float]              # many, medium, few: mean recall over the group's classes; an empty group is absent
    shot_sizes: dict[str, int]           # classes in each group
    shot_bounds: ShotBounds
    hits: np.ndarray                     # (C,), correctly classified validation images
    recall: np.ndarray                   # (C,)
    precision: np.ndarray                # (C,)
    f1: np.ndarray                       # (C,)
    train_images: np.ndarray             # (C,)
    valid_images: np.ndarray             # (C,)
    ece: float                           # expected calibration error, 15 bins
    mce: float                           # maximum calibration error, of the same bins
    aurc: float                          # area under the risk-coverage curve; lower is better
    nll: float                           # mean negative log likelihood, in nats

    @property
    def top1(self) -> float:
        return self.top[1]

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have validation images."""
        return float(np.nanmean(self.recall))

    @property
    def images(self) -> int:
        return int(self.valid_images.sum())

    def members(self, group: str) -> np.ndarray:
        """Classes of a shot group that have validation images, (C,) of bool."""
        return shot_groups(self.train_images, self.shot_bounds)[group] & (self.valid_images > 0)

    def interval(self, group: str | None = None) -> Interval:
        """The 95 % interval of balanced accuracy, or of the accuracy of a shot group."""
        chosen = slice(None) if group is None else self.members(group)
        return mean_interval(self.hits[chosen], self.valid_images[chosen])

    @property
    def top1_interval(self) -> Interval:
        return Interval(*wilson(np.float64(self.top1), np.float64(self.images)).tolist())

    @property
    def recall_intervals(self) -> np.ndarray:
        """The 95 % intervals of the recalls, (C, 2); NaN for a class without images."""
        return recall_intervals(self.hits, self.valid_images)

    @property
    def macro_f1(self) -> float:
        return float(np.nanmean(self.f1))

    @property
    def geometric_mean(self) -> float:
        """Geometric mean of the recalls, (Π recall_c) ** (1 / C); zero if the recall of any class is zero."""
        recall = self.recall[~np.isnan(self.recall)]
        return 0.0 if (recall == 0).any() else float(np.exp(np.log(recall).mean()))

    @property
    def harmonic_mean(self) -> float:
        """Harmonic mean of the recalls, C / Σ 1 / recall_c; recalls below 10⁻⁵ count as 10⁻⁵, to avoid a division by zero."""
        recall = self.recall[~np.isnan(self.recall)]
        return float(len(recall) / (1 / np.maximum(recall, LEAST_RECALL)).sum())

    @property
    def worst_class(self) -> int:
        return int(np.nanargmin(self.recall))

    def score(self, best_by: str) -> float:
        """The metric that TEST.BEST_BY names."""
        return {"accuracy": self.top1, "balanced": self.balanced_accuracy, "macro_f1": self.macro_f1}[best_by]

    def outline(self) -> dict[str, float]:
        """Top-1 and balanced accuracy, the shot groups, and the calibration error."""
        return {"top1": self.top1, "balanced_accuracy": self.balanced_accuracy, **self.shots, "ece": self.ece}

    def history_entry(self) -> dict[str, Any]:
        """The entries for history.jsonl; a loss that is not finite becomes None."""
        scores = {criterion.key: self.score(name) for name, criterion in BEST_BY.items()}
        return {"valid_loss": finite_or_none(self.nll), **scores, **self.shots, "balanced_interval": list(self.interval()),
                "recall": nan_to_none(self.recall)}

    def to_dict(self) -> dict[str, Any]:
        """The content of metrics.json; NaN becomes None, intervals are pairs of bounds."""
        groups = {name: self.interval(name) for name in self.shots}
        return {
            **{f"top{k}": value for k, value in self.top.items()}, **self.shots,
            "classes": self.shot_sizes, "balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1,
            "geometric_mean": self.geometric_mean, "harmonic_mean": self.harmonic_mean,
            "worst_class": self.worst_class,
            "worst_recall": float(self.recall[self.worst_class]), "images": self.images,
            **{name: finite_or_none(getattr(self, name)) for name in ("ece", "mce", "aurc", "nll")},
            "top1_interval": list(self.top1_interval), "balanced_accuracy_interval": list(self.interval()),
            "shot_intervals": {name: list(interval) for name, interval in groups.items()},
            "shot_images": {name: int(self.valid_images[self.members(name)].sum()) for name in self.shots},
            "shot_bounds": self.shot_bounds._asdict(),
            "too_few_images": [*["balanced_accuracy"] * self.interval().too_wide,
                               *(name for name, interval in groups.items() if interval.too_wide)],
            "recall": nan_to_none(self.recall), "precision": nan_to_none(self.precision),
            "recall_interval": [None if np.isnan(low) else [low, high] for low, high in self.recall_intervals.tolist()],
            "train_images": self.train_images.tolist(), "valid_images": self.valid_images.tolist(),
        }


class Evaluated(NamedTuple):
    """The result of evaluating a network on a set of images.

    Attributes:
        unreadable: {index: error} of images that cannot be read; another image of the same class was evaluated instead.
        experts: the metrics of each expert alone, if there are several (NETWORK.EXPERTS.NUM).
    """

    predictions: Predictions
    metrics: Metrics
    images: ImageSet
    unreadable: Mapping[int, str] = {}
    experts: Sequence[Metrics] = ()


def shot_groups(class_counts: np.ndarray, bounds: ShotBounds) -> dict[str, np.ndarray]:
    """The classes of each shot group, as masks, (C,) of bool."""
    many, few = class_counts > bounds.many, class_counts < bounds.few
    return {"many": many, "medium": ~many & ~few, "few": few}


def measure(predictions: Predictions, class_counts: Tensor, bounds: ShotBounds = USUAL) -> Metrics:
    """All metrics from predictions (on the CPU) and training images per class, (C,).

    The accuracy of a shot group is the mean recall of its classes, so every class counts the same.
    """
    labels, predicted, rank, confidence, nll = (column.numpy() for column in predictions[:5])
    counts, num_classes = class_counts.numpy(), len(class_counts)
    images, guesses = (np.bincount(column, minlength=num_classes) for column in (labels, predicted))
    hits = np.bincount(labels[rank == 0], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = hits / images, hits / guesses, 2 * hits / (images + guesses)
    f1[images == 0] = np.nan
    groups = {name: members & (images > 0) for name, members in shot_groups(counts, bounds).items()}
    return Metrics(
        top={k: float((rank < k).mean()) for k in TOPS if k <= num_classes},
        shots={name: float(recall[members].mean()) for name, members in groups.items() if members.any()},
        shot_sizes={name: int(members.sum()) for name, members in groups.items() if members.any()},
        shot_bounds=bounds, hits=hits, recall=recall, precision=precision, f1=f1, train_images=counts, valid_images=images,
        ece=calibration_error(confidence, rank == 0), mce=maximum_calibration_error(confidence, rank == 0),
        aurc=risk_coverage_area(confidence, rank == 0), nll=float(nll.mean(dtype=np.float64)))


def finite_or_none(value: float) -> float | None:
    """None if the value is NaN or infinite, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def nan_to_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
