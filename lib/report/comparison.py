"""Compares several networks on the same images, with intervals over images and over seeds."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lib.report.intervals import Interval, mean_interval, wilson
from lib.report.metrics import ShotBounds, shot_groups
from lib.utils.errors import InputError

BY = ("balanced", "top1", "many", "medium", "few")   # accuracies that can be compared
RESAMPLES, SEED = 4000, 0   # of the bootstrap
LEVEL = 0.05                # significance level, after Holm's correction


class Ground(NamedTuple):
    """The images and shot groups on which all networks of a comparison are evaluated."""

    labels: np.ndarray         # (N,)
    class_names: Sequence[str]
    train_images: np.ndarray   # (C,)
    bounds: ShotBounds

    @property
    def images(self) -> np.ndarray:
        """Number of images of each class, (C,)."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def weights(self, by: str) -> np.ndarray:
        """The weight of each class's recall in an accuracy, (C,); they sum to 1.

        Raises:
            InputError: no class of the shot group has images.
        """
        filled = self.images > 0
        if by == "top1":
            return self.images / len(self.labels)
        members = filled if by == "balanced" else filled & shot_groups(self.train_images, self.bounds)[by]
        if not members.any():
            raise InputError(f"--by {by}: no {by}-shot class has images here; choose one of {', '.join(self.groups())}")
        return members / members.sum()

    def groups(self) -> list[str]:
        """The accuracies that can be computed from these images."""
        members = shot_groups(self.train_images, self.bounds)
        return [by for by in BY if by not in members or (members[by] & (self.images > 0)).any()]


class Entrant(NamedTuple):
    """A row of a comparison: one run, or several runs that differ only in their seed."""

    name: str
    seeds: Sequence[int]   # one for each run
    hits: np.ndarray       # (S, N) of bool, whether the image is classified correctly

    def recall(self, ground: Ground) -> np.ndarray:
        """Recall of each run and class, (S, C); NaN for a class without images."""
        sums = np.stack([np.bincount(ground.labels, weights=one, minlength=len(ground.class_names)) for one in self.hits])
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / ground.images

    def accuracy(self, ground: Ground, by: str) -> np.ndarray:
        """Accuracy of each run, (S,)."""
        return np.nansum(self.recall(ground) * ground.weights(by), axis=1)

    def interval(self, ground: Ground, by: str) -> Interval:
        """95 % interval over images; for several runs, that of a run with their mean recalls."""
        hits = np.nan_to_num(self.recall(ground).mean(axis=0)) * ground.images
        if by == "top1":
            return Interval(*wilson(np.float64(hits.sum() / len(ground.labels)), np.float64(len(ground.labels))).tolist())
        chosen = ground.weights(by) > 0
        return mean_interval(hits[chosen], ground.images[chosen])


class PairedDifference(NamedTuple):
    """The difference in accuracy between an entrant and the first one (the baseline).

    Attributes:
        over_images: 95 % interval over images: the range to expect on other images of the same kind.
        over_seeds: 95 % interval over seeds: the range to expect with other seeds; None with fewer than two common seeds.
        p: p-value, the larger one of the tests over images and over seeds.
        corrected: p after Holm's correction for the number of comparisons.
    """

    value: float
    over_images: Interval
    over_seeds: Interval | None
    common_seeds: int
    p: float
    corrected: float = 1.0

    @property
    def believed(self) -> bool:
        return self.corrected < LEVEL

    def verdict(self, name: str, baseline: str) -> str:
        """The result of the comparison in one sentence."""
        if self.believed:
            better, worse = (name, baseline) if self.value > 0 else (baseline, name)
            over = self.over_images if self.over_seeds is None else self.over_seeds
            low, high = sorted(100 * abs(bound) if self.value > 0 else -100 * bound for bound in over)
            basis = "images" if self.over_seeds is None else f"{self.common_seeds} seeds"
            points = f"{100 * abs(self.value):.1f} points (95 %: {low:.1f} to {high:.1f}, over {basis})"
            return f"{better} is better than {worse} by {points}"
        if self.over_images.too_wide:
            return f"{name} and {baseline}: too few images to compare"
        if self.over_seeds is not None and not (self.over_images.low <= 0 <= self.over_images.high):
            return f"{name} and {baseline}: they differ on these images, but not significantly over {self.common_seeds} seeds"
        return f"{name} and {baseline}: these images cannot tell them apart"


def compare(baseline: Entrant, others: Sequence[Entrant], ground: Ground, by: str) -> list[PairedDifference]:
    """The differences of the others to the baseline, paired by image and by seed, with Holm's correction.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    found = [difference(baseline, other, ground, by) for other in others]
    corrected = holm([one.p for one in found])
    return [one._replace(corrected=p) for one, p in zip(found, corrected)]


def difference(baseline: Entrant, other: Entrant, ground: Ground, by: str) -> PairedDifference:
    weights = ground.weights(by)
    gains = other.hits.mean(axis=0) - baseline.hits.mean(axis=0)
    value, draws = resample(gains, ground.labels, weights)
    over_images, p = Interval(*np.quantile(draws, [0.025, 0.975]).tolist()), two_sided(draws)
    common = sorted(set(baseline.seeds) & set(other.seeds))
    if min(len(baseline.seeds), len(other.seeds)) < 2 or len(common) < 2:
        return PairedDifference(value, over_images, None, len(common), p)
    first, second = (dict(zip(one.seeds, one.accuracy(ground, by))) for one in (baseline, other))
    over_seeds, p_seeds = paired_t(np.array([second[seed] - first[seed] for seed in common]))
    return PairedDifference(value, over_images, over_seeds, len(common), max(p, p_seeds))


def resample(gains: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Σ w_c mean(gain of class c), and bootstrap samples of it, (RESAMPLES,).

    The bootstrap resamples within each class. It draws n_c − 1 of n_c images, since drawing n_c underestimates the variance of
    small classes (Rao and Wu, Resampling inference with complex survey data, JASA 83 (1988)). One additional pseudo-image with
    the distribution of all classes is added to each class; without it, a class with two images that agree would have no variance.
    tests/report/test_comparison.py measures the coverage of the interval.
    """
    rng, classes = np.random.default_rng(SEED), np.flatnonzero(weights > 0)
    kinds, kind = np.unique(gains, return_inverse=True)
    counts = np.zeros((len(weights), len(kinds)))
    np.add.at(counts, (labels, kind), 1)
    counts = counts[classes]
    images = counts.sum(axis=1, keepdims=True)
    everywhere = (counts / images).mean(axis=0)
    total, draws = 0.0, np.zeros(RESAMPLES)
    for own, n, weight in zip(counts, images[:, 0], weights[classes]):
        shares = (own + everywhere) / (n + 1)
        size = max(int(n) - 1, 1)
        drawn = rng.multinomial(size, shares / shares.sum(), size=RESAMPLES) @ kinds / size
        mean = float(own @ kinds / n)
        total += weight * mean
        draws += weight * (drawn - float(shares @ kinds) + mean)
    return total, draws


def two_sided(draws: np.ndarray) -> float:
    """The two-sided p-value of bootstrap samples: twice the share on the other side of zero; 1 if nothing differs."""
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, 2 * (float(beyond) + 1) / (len(draws) + 1))


def paired_t(gains: np.ndarray) -> tuple[Interval, float]:
    """95 % interval of the mean, and p-value, by Student's t-test with S − 1 degrees of freedom for S seeds."""
    from scipy import stats  # imported here, since training does not need it
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    if error == 0:
        return Interval(mean, mean), 1.0 if mean == 0 else 0.0
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * error
    return Interval(mean - half, mean + half), float(2 * stats.t.sf(abs(mean) / error, len(gains) - 1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: the smallest p times k, the next times k − 1, …, each at least as large as the one before, at most 1."""
    corrected, highest = [0.0] * len(p), 0.0
    for place, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[number]))
        corrected[number] = highest
    return corrected
