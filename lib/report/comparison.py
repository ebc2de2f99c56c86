"""Which of several networks is better on the same images, and whether the images, or the seeds, can tell."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lib.report.intervals import Interval, mean_interval, wilson
from lib.report.metrics import ShotBounds, shot_groups
from lib.utils.errors import InputError

BY = ("balanced", "top1", "many", "medium", "few")   # accuracies that can be compared
RESAMPLES, SEED = 4000, 0   # of the bootstrap
LEVEL = 0.05                # of a difference that is believed, after Holm's correction


class Ground(NamedTuple):
    """The images and settings on which all networks of a comparison were tried."""

    labels: np.ndarray         # (N,)
    class_names: Sequence[str]
    train_images: np.ndarray   # (C,)
    bounds: ShotBounds

    @property
    def images(self) -> np.ndarray:
        """Of each class, (C,)."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def weights(self, by: str) -> np.ndarray:
        """What each class's recall counts in an accuracy, (C,); they sum to 1.

        Raises:
            InputError: no class of the shot group has images.
        """
        filled = self.images > 0
        if by == "top1":
            return self.images / len(self.labels)
        members = filled if by == "balanced" else filled & shot_groups(self.train_images, self.bounds)[by]
        if not members.any():
            raise InputError(f"--by {by}: no class of that group has images here; one of {', '.join(self.groups())} would do")
        return members / members.sum()

    def groups(self) -> list[str]:
        """Accuracies that there are here."""
        members = shot_groups(self.train_images, self.bounds)
        return [by for by in BY if by not in members or (members[by] & (self.images > 0)).any()]


class Entrant(NamedTuple):
    """A row of a comparison: one run, or several that differ in their seed only."""

    name: str
    seeds: Sequence[int]   # of its runs
    hits: np.ndarray       # (S, N) of bool: is the image recognised

    def recall(self, ground: Ground) -> np.ndarray:
        """Of each class and run, (S, C); NaN for a class without images."""
        sums = np.stack([np.bincount(ground.labels, weights=one, minlength=len(ground.class_names)) for one in self.hits])
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums / ground.images

    def accuracy(self, ground: Ground, by: str) -> np.ndarray:
        """Of each run, (S,)."""
        return np.nansum(self.recall(ground) * ground.weights(by), axis=1)

    def interval(self, ground: Ground, by: str) -> Interval:
        """95 %, over images, of its only run; of several, of a run that recognises what they do on average."""
        hits = np.nan_to_num(self.recall(ground).mean(axis=0)) * ground.images
        if by == "top1":
            return Interval(*wilson(np.float64(hits.sum() / len(ground.labels)), np.float64(len(ground.labels))).tolist())
        chosen = ground.weights(by) > 0
        return mean_interval(hits[chosen], ground.images[chosen])


class PairedDifference(NamedTuple):
    """How much better an entrant is than the first one.

    Attributes:
        over_images: 95 % interval of what other images of the same kind would give.
        over_seeds: 95 % interval of what other seeds would give; None where fewer than two seeds are in both.
        p: probability of so large a difference where there is none; of the two, the larger one.
        corrected: after Holm's correction for the number of comparisons.
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
        """One sentence."""
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
            return f"{name} and {baseline}: these images tell them apart, {self.common_seeds} seeds do not"
        return f"{name} and {baseline}: these images cannot tell them apart"


def compare(baseline: Entrant, others: Sequence[Entrant], ground: Ground, by: str) -> list[PairedDifference]:
    """Of each of the others to the baseline, paired: the same images, and the same seeds.

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
    """Σ w_c mean(gain of class c), and what it is on other images of the same classes, (RESAMPLES,).

    A bootstrap within each class, which draws n_c − 1 of its n_c images, since n_c would be too few where classes are small
    (Rao and Wu, Resampling inference with complex survey data, JASA 83 (1988)), and among them one that stands for all classes
    together, or a class with two images that agree would be taken for certain. tests/report/test_comparison.py measures how
    often the interval holds.
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
    """Twice the share of the draws on the other side of zero; 1 where nothing differs."""
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, 2 * (float(beyond) + 1) / (len(draws) + 1))


def paired_t(gains: np.ndarray) -> tuple[Interval, float]:
    """95 % interval of the mean, and p, by Student's t with one degree of freedom less than there are seeds."""
    from scipy import stats  # not needed to train
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    if error == 0:
        return Interval(mean, mean), 1.0 if mean == 0 else 0.0
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * error
    return Interval(mean - half, mean + half), float(2 * stats.t.sf(abs(mean) / error, len(gains) - 1))


def holm(p: Sequence[float]) -> list[float]:
    """Corrected in their order: the smallest times k, the next times k − 1, …, never smaller than one before, at most 1."""
    corrected, highest = [0.0] * len(p), 0.0
    for place, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[number]))
        corrected[number] = highest
    return corrected
