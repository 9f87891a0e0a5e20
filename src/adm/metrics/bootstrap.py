"""what single images say, or a number of resampled ones -> an interval for the number.

Images are drawn anew from those there are, with replacement (Efron 1979). An interval tells how
far the number would move with other images of the same generator, as many of them, against the
same real ones; it says nothing of a bias that all such numbers share, such as that of a Fréchet
distance from few images.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
HELD = 4_000_000  # drawn rows held at a time


class Interval(NamedTuple):
    """Where a number lies with the stated confidence."""

    low: float
    high: float


def mean_interval(
    values: np.ndarray, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """(N,) what each image says -> the interval of its mean, by percentiles.

    For density, the values are the balls in `manifold.Membership`. Values that are all equal give
    an interval without width, which a share of 0 or 1 does not deserve: see `accuracy.wilson`.

    Raises:
        ValueError: not (N,), no image, not finite, or a level outside 0..1.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"an interval needs (N,) finite values, N >= 1, got {values.shape}")
    at_once = max(1, HELD // len(values))
    random, means = np.random.default_rng(seed), []
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), len(values))
        means.append(values[random.integers(len(values), size=shape)].mean(axis=1))
    return _percentiles(np.concatenate(means), level)


def resampled(
    score: Callable[[np.ndarray], float], count: int, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """(resamples,) scores of that many drawings of `count` images.

    Args:
        score: takes the (count,) int64 rows that were drawn.

    Raises:
        ValueError: fewer than 2 images or resamples.
    """
    if count < 2 or resamples < 2:
        raise ValueError(f"{resamples} resamples of {count} images spread nothing; give more")
    random = np.random.default_rng(seed)
    return np.array([score(random.integers(count, size=count)) for _ in range(resamples)])


def centred_interval(estimate: float, scores: np.ndarray, level: float = LEVEL) -> Interval:
    """Resampled scores -> an interval around the estimate.

    Drawing twice from the same images adds the bias of a score from fewer images, which the
    estimate does not have, so that only the scores' spread is used, laid around the estimate.

    Raises:
        ValueError: no scores, one that is not finite, or a level outside 0..1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            "an interval needs finite scores; give more images a resampling, or smaller features"
        )
    low, high = _percentiles(scores - scores.mean(), level)
    return Interval(estimate + low, estimate + high)


def subset_interval(values: np.ndarray, size: int, count: int, level: float = LEVEL) -> Interval:
    """Scores of random subsets -> an interval for their mean (Politis and Romano 1994).

    A score of `size` of `count` images without replacement spreads as 1 / size - 1 / count, one
    of them all as 1 / count, both around the truth. Where a score's spread falls faster, as KID's
    does between two equal distributions, the interval is wider than it need be.

    Args:
        values: (subsets,).
        size: images in a subset, fewer than `count`.
        count: images that they were drawn from, of the smaller set.

    Raises:
        ValueError: subsets of all images, which spread nothing.
    """
    if not 0 < size < count:
        raise ValueError(
            f"subsets of {size} of {count} images cannot tell a spread; take smaller subsets"
        )
    values = np.asarray(values, dtype=np.float64)
    spread = (values - values.mean()) * np.sqrt(size / (count - size))
    return centred_interval(float(values.mean()), spread, level)


def _percentiles(values: np.ndarray, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"a level of confidence lies between 0 and 1, got {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
