"""Features -> score, extrapolated to infinitely many images of the same generator.

The bias of the Fréchet distance of N images is nearly proportional to 1 / N, by a factor that
depends on the generator. So the score is computed for random subsets of many sizes, and a line in
1 / N through them extrapolated to 0 (Chong and Forsyth 2020, section 4).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from adm.metrics.checks import check_features
from adm.metrics.frechet import frechet_of, frechet_to
from adm.metrics.metric import Metric, Score, Sets
from adm.metrics.moments import Statistics, statistics

SIZES = 15  # subsets, as in the paper
SMALLEST = 5000  # images in a subset, as in the paper
FEWEST = 200  # images of a report; below, the scatter of the subsets exceeds the trend
DEVIATIONS = 1.96  # standard deviations around the mean that hold 95% of a normal distribution


class Extrapolated(NamedTuple):
    """A score at infinite N.

    Attributes:
        value: the line at 1 / N = 0.
        slope: of the line in 1 / N: `value + slope / N` is its score of N images.
        sizes: (subsets,) int64, images in each subset.
        scores: (subsets,) float64, their scores.
    """

    value: float
    slope: float
    sizes: np.ndarray
    scores: np.ndarray

    @property
    def error(self) -> float:
        """The standard error of the value, the intercept of a least-squares line."""
        x, y = 1 / self.sizes, self.scores
        around = ((x - x.mean()) ** 2).sum()
        residual = ((y - self.value - self.slope * x) ** 2).sum() / (len(x) - 2)
        return float(np.sqrt(residual * (1 / len(x) + x.mean() ** 2 / around)))


def frechet_at_infinity(
    features: np.ndarray, real: Statistics, sizes: int = SIZES, seed: int = 0
) -> Extrapolated:
    """(N, D) features of generated images -> their Fréchet distance to `real` without its bias.

    The bias due to the number of real images remains. The line is straight where subsets have
    several times as many images as features; with fewer, the value is closer to the limit than the
    plain distance is, but still too large.

    Raises:
        ValueError: too few images, or features that do not fit the statistics.
    """
    distance, features = frechet_to(real), check_features(features, minimum=4)
    return at_infinity(
        lambda rows: distance(statistics(features[rows])), len(features), sizes, seed
    )


def at_infinity(
    score: Callable[[np.ndarray], float], count: int, sizes: int = SIZES, seed: int = 0
) -> Extrapolated:
    """A score of any subset of `count` images -> its limit for infinitely many.

    Args:
        score: maps the rows of a subset to its score.
        count: number of images.
        sizes: number of subsets; their sizes are evenly spaced from 5,000, or half of all images
            if that is less, to all of them.
        seed: of the random subsets.

    Raises:
        ValueError: fewer than 4 images or 2 sizes.
    """
    if count < 4 or sizes < 2:
        raise ValueError(
            f"a line needs at least 4 images and 2 subsets, got {count} and {sizes}; give more"
        )
    random = np.random.default_rng(seed)
    chosen = np.linspace(min(SMALLEST, count // 2), count, sizes).round().astype(np.int64)
    scores = np.array([score(random.permutation(count)[:size]) for size in chosen])
    slope, value = np.polyfit(1 / chosen, scores, 1)
    return Extrapolated(float(value), float(slope), chosen, scores)


def _score(sets: Sets) -> Score | None:
    """Combine the interval of the plain distance with the error of the line."""
    if sets.stored or len(sets.fake) < FEWEST:
        return None
    estimate = frechet_at_infinity(sets.fake, sets.real_statistics, seed=sets.seed)
    error, plain = DEVIATIONS * estimate.error, sets.once(frechet_of)
    return Score(
        estimate.value,
        estimate.value - math.hypot(plain.value - plain.low, error),
        estimate.value + math.hypot(plain.high - plain.value, error),
    )


FRECHET_AT_INFINITY = Metric(
    key="frechet_at_infinity",
    title="Fréchet distance at infinite N",
    of_inception="FID at infinite N",
    lower_is_better=True,
    score=_score,
)
