"""Confidence intervals (95 %) of recalls and of their mean, in closed form.

A validation set is a sample: if two networks differ by a point on 60 images, it is not known which is better. The images of a
class are treated as independent draws, so its number of hits is binomial. The intervals do not include the variation between
training seeds.
"""
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054   # 97.5 % quantile of the normal distribution
WIDEST = 0.2            # largest width of an interval for which a comparison makes sense


class Interval(NamedTuple):
    """Lower and upper bound of a share, in [0, 1]."""

    low: float
    high: float

    @property
    def too_wide(self) -> bool:
        """Whether there are too few images for a comparison: the number may be off by 10 points, and most tricks gain less."""
        return self.high - self.low > WIDEST


def wilson(share: np.ndarray | np.float64, images: np.ndarray | np.float64) -> np.ndarray:
    """Wilson's score intervals of binomial shares, (..., 2); NaN without images.

    All θ with |share − θ| ≤ z · sqrt(θ (1 − θ) / n). Wilson, Probable Inference, the Law of Succession, and Statistical
    Inference, JASA 22 (1927). The intervals stay within [0, 1], and are valid even for a single image.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = 1 / (1 + Z ** 2 / images)
        center = factor * (share + Z ** 2 / (2 * images))
        half = factor * Z * np.sqrt(share * (1 - share) / images + Z ** 2 / (4 * images ** 2))
    bounds = np.stack([center - half, center + half], axis=-1).clip(0, 1)
    bounds[np.asarray(share) == 0, 0], bounds[np.asarray(share) == 1, 1] = 0, 1   # exactly
    return bounds


def recall_intervals(hits: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Wilson's interval of each class's recall, (C, 2); NaN for a class without images."""
    images = images.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return wilson(hits / images, images)


def mean_interval(hits: np.ndarray, images: np.ndarray) -> Interval:
    """Interval of the mean recall of the classes that have images; for a single class it is Wilson's.

    On each side it is the wider of two intervals, since each of them is too narrow in some cases
    (tests/report/test_intervals.py measures this):

    * MOVER: with p_c and its Wilson bounds l_c and u_c, p̄ − sqrt(Σ (p_c − l_c)²) / C and p̄ + sqrt(Σ (u_c − p_c)²) / C. Zou, Huang
      and Zhang, A note on confidence interval estimation for a linear function of binomial proportions, Computational Statistics
      and Data Analysis 53 (2009). Correct for few classes; too narrow for many classes with few images each.
    * Wilson's with an effective number of images, p̄ (1 − p̄) / V for a variance V of p̄, as for surveys: Korn and Graubard, Survey
      Methodology 24 (1998). V = Σ p_c (1 − p_c) / (n_c − 1) / C² is unbiased; a class with one image gets p̄ (1 − p̄), which on
      average is not below its own variance. Correct for many classes; its width is zero if every recall is 0 or 1.
    """
    hits, images = hits[images > 0], images[images > 0].astype(np.float64)
    recall, classes = hits / images, len(images)
    mean = recall.mean()
    low, high = recall_intervals(hits, images).T
    mover = mean - np.sqrt(((recall - low) ** 2).sum()) / classes, mean + np.sqrt(((high - recall) ** 2).sum()) / classes
    pooled = mean * (1 - mean) / images
    own = np.where(images > 1, recall * (1 - recall) / np.maximum(images - 1, 1), pooled)
    variance = min(own.sum(), pooled.sum()) / classes ** 2
    effective = wilson(mean, np.float64(mean * (1 - mean) / variance)) if variance > 0 else (mean, mean)
    return Interval(*(float(bound) for bound in np.clip([min(mover[0], effective[0]), max(mover[1], effective[1])], 0, 1)))
