"""Calibration: whether predictions with a confidence of 80 % are correct in 80 % of cases."""
import math
from typing import NamedTuple

import numpy as np

ECE_BINS = 15
CALIBRATED = 1   # smaller differences between mean confidence and accuracy, in points, count as calibrated


class Bins(NamedTuple):
    """The images in 15 bins of equal width by the confidence of their prediction, (15,) each; NaN for an empty bin."""

    images: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray   # mean
    accuracy: np.ndarray


def calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> Bins:
    """Sorts predictions into bins of confidence; a prediction whose confidence is NaN is left out."""
    known = ~np.isnan(confidence)
    confidence, correct = confidence[known].astype(np.float64), correct[known]
    places = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    images = np.bincount(places, minlength=ECE_BINS)
    hits = np.bincount(places, weights=correct, minlength=ECE_BINS)
    with np.errstate(invalid="ignore"):
        return Bins(images, hits.astype(int), np.bincount(places, weights=confidence, minlength=ECE_BINS) / images, hits / images)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """ECE: Σ_b |Σ correct − Σ confidence| / N over 15 equal bins of confidence; NaN if any confidence is NaN.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, Eq. 5.
    """
    if np.isnan(confidence).any():
        return math.nan
    bins = calibration_bins(confidence, correct)
    gap = np.abs(bins.accuracy - bins.confidence) * bins.images
    return float(np.nansum(gap) / len(confidence))


def maximum_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """MCE: the largest |accuracy − mean confidence| of a non-empty bin; NaN if any confidence is NaN. Eq. 6 of the same paper."""
    if np.isnan(confidence).any():
        return math.nan
    bins = calibration_bins(confidence, correct)
    return float(np.nanmax(np.abs(bins.accuracy - bins.confidence)))


def risk_coverage_area(confidence: np.ndarray, correct: np.ndarray) -> float:
    """AURC: the mean over k = 1 … N of the error rate among the k most confident predictions; NaN if any confidence is NaN.

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
        return "all confidences are NaN"
    gap = 100 * (np.nansum(bins.confidence * bins.images) - bins.hits.sum()) / images
    if abs(gap) < CALIBRATED:
        return "well calibrated on average"
    return f"{'over' if gap > 0 else 'under'}-confident by {abs(gap):.1f} points on average"
