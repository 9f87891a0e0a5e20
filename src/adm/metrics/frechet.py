"""features, features -> Fréchet distance (FID, when they are Inception's)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Statistics:
    """A set of features as a normal distribution.

    Attributes:
        mean: (D,) float32, as in the released evaluator.
        covariance: (D, D) float64, unbiased.
    """

    mean: np.ndarray
    covariance: np.ndarray


def statistics(features: np.ndarray) -> Statistics:
    """(N, D) features -> their mean and covariance.

    Sums are float64; the mean is then rounded to float32, the released evaluator's precision.

    Raises:
        ValueError: not (N, D) with N at least 2, or a value is not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) with N >= 2, got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not finite; leave those images out")
    wide = np.asarray(features, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(wide, rowvar=False))
    return Statistics(wide.mean(axis=0).astype(np.float32), covariance)


def frechet_distance(real: Statistics, fake: Statistics) -> float:
    """Squared Fréchet distance of two normal distributions (Heusel et al. 2017, equation 6).

    |m - m'|^2 + tr(C) + tr(C') - 2 tr((C C')^(1/2)). The last trace is the sum of the singular
    values of C^(1/2) C'^(1/2), which exists for singular covariances too, so that fewer images
    than features need no jitter.

    Raises:
        ValueError: the two have different numbers of features.
    """
    if real.mean.shape != fake.mean.shape:
        raise ValueError(
            f"{len(real.mean)} and {len(fake.mean)} features cannot be compared; "
            "use the same extractor for both"
        )
    shift = real.mean.astype(np.float64) - fake.mean.astype(np.float64)
    common = root(real.covariance) @ root(fake.covariance)
    shared = np.linalg.svd(common, compute_uv=False).sum()
    spread = np.trace(real.covariance) + np.trace(fake.covariance)
    return float(shift @ shift + spread - 2 * shared)


def root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance; rounding's negative eigenvalues count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
