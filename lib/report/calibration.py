"""Calibration: whether predictions with a confidence of 80 % are right in 80 % of cases."""
import math
from typing import NamedTuple

import numpy as np

ECE_BINS = 15
CALIBRATED = 1   # points between mean confidence and accuracy that are not worth a word


class Bins(NamedTuple):
    """The images in 15 bins of equal width by the confidence of their prediction, (15,) each; NaN where a bin is empty."""

    images: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray   # mean
    accuracy: np.ndarray


def calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> Bins:
    """Leaves out images whose confidence is not a number."""
    known = ~np.isnan(confidence)
    confidence, correct = confidence[known].astype(np.float64), correct[known]
    places = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    images = np.bincount(places, minlength=ECE_BINS)
    hits = np.bincount(places, weights=correct, minlength=ECE_BINS)
    with np.errstate(invalid="ignore"):
        return Bins(images, hits.astype(int), np.bincount(places, weights=confidence, minlength=ECE_BINS) / images, hits / images)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Σ_b |Σ correct − Σ confidence| / N over 15 equal bins of confidence; NaN where a confidence is.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, Eq. 5.
    """
    if np.isnan(confidence).any():
        return math.nan
    bins = calibration_bins(confidence, correct)
    gap = np.abs(bins.accuracy - bins.confidence) * bins.images
    return float(np.nansum(gap) / len(confidence))


def maximum_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The largest |accuracy − mean confidence| of a bin that has images; NaN where a confidence is. Eq. 6 of the same paper."""
    if np.isnan(confidence).any():
        return math.nan
    bins = calibration_bins(confidence, correct)
    return float(np.nanmax(np.abs(bins.accuracy - bins.confidence)))


def risk_coverage_area(confidence: np.ndarray, correct: np.ndarray) -> float:
    """AURC: the mean over k = 1 … N of the error rate among the k most confident predictions; NaN where a confidence is.

    Equal confidences keep the order of the images. Geifman et al., Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers, ICLR 2019, arXiv:1805.08206.
    """
    if np.isnan(confidence).any():
        return math.nan
    errors = ~correct[np.argsort(-confidence, kind="stable")].astype(bool)
    return float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())


def judge_confidence(bins: Bins) -> str:
    """Says in words whether predictions are over-confident."""
    images = bins.images.sum()
    if images == 0:
        return "no confidence is a number"
    gap = 100 * (np.nansum(bins.confidence * bins.images) - bins.hits.sum()) / images
    if abs(gap) < CALIBRATED:
        return "on average as confident as right"
    return f"on average {abs(gap):.1f} points too {'confident' if gap > 0 else 'cautious'}"
