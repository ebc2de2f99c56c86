"""One von Mises-Fisher distribution of unit vectors for each class, estimated from sums over batches."""
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 1e5        # largest concentration: of a class whose vectors are all equal
FIRST = 0.9       # length of a class's mean before any of its vectors is seen


def random_means(num_classes: int, num_dims: int, generator: torch.Generator | None = None) -> Tensor:
    """Means of classes without vectors so far: random directions of length 0.9, (C, d), on the CPU."""
    return FIRST * F.normalize(torch.randn(num_classes, num_dims, generator=generator), dim=1)


class Directions(NamedTuple):
    """The mean vector of each class, and the number of vectors it is the mean of."""

    means: Tensor    # (..., C, d)
    counts: Tensor   # (..., C), same dtype as the means

    def added(self, sums: Tensor, counts: Tensor) -> "Directions":
        """Adds vectors: μ_c ← (n_c · μ_c + Σ f) / (n_c + count). A class without vectors keeps its mean.

        Args:
            sums: sum of the added vectors of each class, (C, d).
            counts: their number, (C,).
        """
        totals = self.counts + counts
        means = (self.counts[..., None] * self.means + sums) / totals.clamp_min(1)[..., None]
        return Directions(torch.where(totals[..., None] > 0, means, self.means), totals)


def class_sums(vectors: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Sum and number of each class's vectors, (C, d + 1), the number last. Vectors that are not finite are ignored."""
    finite = vectors.isfinite().all(dim=1, keepdim=True)
    rows = torch.cat([torch.where(finite, vectors, 0), finite.to(vectors.dtype)], dim=1)
    return F.one_hot(labels, num_classes).to(rows.dtype).T @ rows


def concentrations(means: Tensor) -> Tensor:
    """κ_c = R · d / (1 − R²) of class means (C, d), R = ‖μ_c‖, at most 1e5, (C,).

    The published approximation of the maximum-likelihood estimate.
    """
    lengths = means.norm(dim=1)
    rest = 1 - lengths.square()
    return torch.where(rest > 0, lengths * means.shape[1] / rest.clamp_min(1e-12), MOST).clamp_max(MOST)


def log_expectations(vectors: Tensor, means: Tensor, temperature: float) -> Tensor:
    """log E[exp(⟨f, v⟩ / T)] over the directions v of each class, (B, C) in float64: ψ(‖κ_c μ_c/‖μ_c‖ + f/T‖) − ψ(κ_c).

    Du et al., Probabilistic Contrastive Learning for Long-Tailed Visual Recognition, TPAMI 2024, arXiv:2403.06726.

    Args:
        vectors: f, (B, d).
        means: μ_c, (C, d); d is 3 or more.
    """
    scaled, means = vectors.double() / temperature, means.double()
    centres = concentrations(means)[:, None] * F.normalize(means, dim=1)   # κ_c μ_c/‖μ_c‖, (C, d)
    own = centres.square().sum(dim=1)
    squares = scaled.square().sum(dim=1, keepdim=True) + 2 * scaled @ centres.T + own
    num_dims = vectors.shape[1]
    return log_bessel(squares.clamp_min(0), num_dims) - log_bessel(own, num_dims)


def log_bessel(squares: Tensor, num_dims: int) -> Tensor:
    """ψ(k) = log I_ν(k) − ν log k, ν = d/2 − 1, of k² in float64; I_ν is the modified Bessel function of the first kind.

    The uniform asymptotic expansion with four terms (Abramowitz and Stegun, 9.7.7), written in k², so that it has no
    singularity at 0. Its error decreases with d: below 2e-6 at 16 dimensions, below 1e-10 at 128.
    """
    order = num_dims / 2 - 1
    u = (1 + squares / order**2).sqrt()
    t = u.reciprocal()
    square = t.square()
    first = t * (3 - 5 * square) / 24
    second = square * (81 + square * (-462 + square * 385)) / 1152
    third = t * square * (30375 + square * (-369603 + square * (765765 - square * 425425))) / 414720
    fourth = square**2 * (4465125 + square * (-94121676 + square * (349922430 + square * (-446185740 + square * 185910725))))
    series = torch.log1p(first / order + second / order**2 + third / order**3 + fourth / (39813120 * order**4))
    constant = order * math.log(order) + 0.5 * math.log(2 * math.pi * order)
    return order * (u - torch.log1p(u)) - constant - 0.5 * u.log() + series
