"""Batches of features -> Moments, Statistics: mean and covariance, in constant memory.

Moments of parts merge in any order and grouping (Chan, Golub and LeVeque 1983, equation 2.1):

    n = n_a + n_b,  d = mean_b - mean_a
    mean = mean_a + d n_b / n,  scatter = scatter_a + scatter_b + d d^T n_a n_b / n

so that several ranks, or several runs, add up to what one would have computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adm.metrics.checks import ROWS, check_features


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of a set of features.

    Attributes:
        count: N, number of images.
        mean: (D,) float64; zeros where N is 0.
        scatter: (D, D) float64, the sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """(N, D) features, N at least 1 -> their moments.

        Raises:
            ValueError: not (N, D), N is 0, or a value is not finite.
        """
        features = check_features(features, minimum=1)
        total = cls.empty(features.shape[1])
        for start in range(0, len(features), ROWS):
            part = np.asarray(features[start : start + ROWS], dtype=np.float64)
            mean = part.mean(axis=0)
            around = part - mean
            total += cls(len(part), mean, around.T @ around)
        return total

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """Moments of no images, with which a sum starts."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    def __add__(self, other: Moments) -> Moments:
        """Moments of the union of both sets.

        Raises:
            ValueError: they have different numbers of features.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {len(self.mean)} and {len(other.mean)} features cannot be merged; "
                "use the same extractor for both"
            )
        if not self.count or not other.count:
            return self if self.count else other
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart * (self.count * other.count / count))
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """(D, D) float64, unbiased.

        Raises:
            ValueError: fewer than 2 images.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs N >= 2 images, got {self.count}; give more")
        return self.scatter / (self.count - 1)


@dataclass(frozen=True, eq=False)
class Statistics:
    """The normal distribution fitted to a set of features.

    Attributes:
        mean: (D,) float32, as in the released evaluator.
        covariance: (D, D) float64, unbiased.
    """

    mean: np.ndarray
    covariance: np.ndarray


def statistics(features: np.ndarray | Moments) -> Statistics:
    """(N, D) features, or their moments -> mean and covariance.

    Sums are float64; the mean is then rounded to float32, the precision of the released evaluator.

    Raises:
        ValueError: not (N, D) with N at least 2, or a value is not finite.
    """
    moments = features if isinstance(features, Moments) else Moments.of(check_features(features))
    return Statistics(moments.mean.astype(np.float32), moments.covariance)


def check_statistics(real: Statistics, fake: Statistics) -> None:
    """Raise ValueError unless the two are finite, of the same D, and covariances (D, D)."""
    if real.mean.shape != fake.mean.shape:
        raise ValueError(
            f"{len(real.mean)} and {len(fake.mean)} features cannot be compared; "
            "use the same extractor for both"
        )
    for each in (real, fake):
        if each.covariance.shape != (len(each.mean), len(each.mean)):
            raise ValueError(
                f"the covariance of {len(each.mean)} features must have as many rows and columns, "
                f"got {each.covariance.shape}; recompute the statistics"
            )
        if not (np.isfinite(each.mean).all() and np.isfinite(each.covariance).all()):
            raise ValueError("statistics hold values that are not finite; recompute them")
