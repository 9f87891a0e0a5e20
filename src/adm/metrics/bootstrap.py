"""Values of single images, or resampled scores -> confidence interval.

Images are resampled with replacement (Efron 1979). An interval says how far a score would move
with as many other images of the same generator, against the same real ones. It does not cover a
bias that all such scores share, such as that of a Fréchet distance from few images.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of every interval
RESAMPLES = 1000
MAX_DRAWS = 4_000_000  # rows drawn at a time


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def mean_interval(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """(N,) values, one per image -> the percentile interval of their mean.

    For density, the values are `manifold.Membership.balls`. Values that are all equal give an
    interval of width 0, which is too narrow for a proportion of 0 or 1: see `accuracy.wilson`. That
    of a single value is unknown: NaN.

    Raises:
        ValueError: not (N,), no image, or not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"an interval needs (N,) finite values, N >= 1, got {values.shape}")
    if len(values) == 1:
        return Interval(math.nan, math.nan)
    at_once = max(1, MAX_DRAWS // len(values))
    random, means = np.random.default_rng(seed), []
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), len(values))
        means.append(values[random.integers(len(values), size=shape)].mean(axis=1))
    return _percentiles(np.concatenate(means))


def resample(
    score: Callable[[np.ndarray], float], count: int, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """(resamples,) scores, each of `count` images drawn with replacement.

    Args:
        score: maps the (count,) int64 rows drawn to a score.
        count: number of images.

    Raises:
        ValueError: fewer than 2 images or resamples.
    """
    if count < 2 or resamples < 2:
        raise ValueError(
            f"resampling needs at least 2 images and 2 resamples, got {count} and {resamples}; "
            "give more"
        )
    random = np.random.default_rng(seed)
    return np.array([score(random.integers(count, size=count)) for _ in range(resamples)])


def centred_interval(estimate: float, scores: np.ndarray) -> Interval:
    """Resampled scores -> an interval around the estimate.

    Resampled sets repeat images, which biases their scores towards those of fewer images. So only
    the spread of the scores is used, centred on the estimate.

    Raises:
        ValueError: no scores, or one that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            "an interval needs finite scores; give more images, or features of a lower dimension"
        )
    low, high = _percentiles(scores - scores.mean())
    return Interval(estimate + low, estimate + high)


def subset_interval(values: np.ndarray, size: int, count: int) -> Interval:
    """Scores of random subsets -> an interval for their mean (Politis and Romano 1994).

    The variance of a score over subsets of `size` of `count` images, drawn without replacement, is
    taken to be proportional to 1 / size - 1 / count, and that of a score of all images to
    1 / count. Where it falls faster, as KID's does between two equal distributions, the interval is
    wider than necessary.

    Args:
        values: (subsets,) scores.
        size: images in a subset, fewer than `count`.
        count: images in the set that they were drawn from; in the smaller one of two.

    Raises:
        ValueError: subsets of all images, whose scores do not vary.
    """
    if not 0 < size < count:
        raise ValueError(
            f"subsets of {size} of {count} images do not vary enough; take smaller subsets"
        )
    values = np.asarray(values, dtype=np.float64)
    spread = (values - values.mean()) * np.sqrt(size / (count - size))
    return centred_interval(float(values.mean()), spread)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
