"""features -> the score that infinitely many images of the same generator would have.

The Fréchet distance and the Inception Score of N images are biased, by an amount that is nearly a
multiple of 1 / N and depends on the generator. So the score is measured for random subsets of many
sizes, a line in 1 / N laid through them, and read off at 0 (Chong and Forsyth 2020, section 4).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from adm.metrics.features import checked
from adm.metrics.frechet import Statistics, frechet_to, statistics
from adm.metrics.inception_score import inception_score

SIZES = 15  # in the paper, as is the smallest
SMALLEST = 5000


class Extrapolated(NamedTuple):
    """A score at infinite N.

    Attributes:
        value: where the line meets 1 / N = 0.
        slope: what 1 / N adds: `value + slope / N` is the line's score of N images.
        sizes: (how many,) int64, images in each subset.
        scores: (how many,) float64, their scores.
    """

    value: float
    slope: float
    sizes: np.ndarray
    scores: np.ndarray


def frechet_at_infinity(
    features: np.ndarray, real: Statistics, sizes: int = SIZES, seed: int = 0
) -> Extrapolated:
    """(N, D) features of generated images -> their Fréchet distance to `real` without its bias.

    The bias that the real images' own number brings stays. The line is straight where subsets
    hold several times as many images as features; below that, the value is better than the plain
    distance and still too large.

    Raises:
        ValueError: too few images, or features that do not fit the statistics.
    """
    distance, features = frechet_to(real), checked(features, least=4)
    return at_infinity(
        lambda rows: distance(statistics(features[rows])), len(features), sizes, seed
    )


def inception_score_at_infinity(
    probabilities: np.ndarray, sizes: int = SIZES, seed: int = 0
) -> Extrapolated:
    """(N, classes) probabilities -> the Inception Score without its bias, in one split.

    Raises:
        ValueError: too few images, or not (N, classes).
    """
    probabilities = checked(probabilities, least=4)
    count = len(probabilities)
    return at_infinity(lambda rows: inception_score(probabilities[rows], count), count, sizes, seed)


def at_infinity(
    score: Callable[[np.ndarray], float], count: int, sizes: int = SIZES, seed: int = 0
) -> Extrapolated:
    """A score of any subset of `count` images -> what it tends to.

    Args:
        score: takes the rows of a subset.
        sizes: subsets, their sizes evenly spaced from 5,000, or half of all where that is less,
            to all of them.
        seed: of the drawing.

    Raises:
        ValueError: fewer than 4 images or 2 sizes.
    """
    if count < 4 or sizes < 2:
        raise ValueError(f"no line goes through {sizes} subsets of {count} images; give more")
    random = np.random.default_rng(seed)
    chosen = np.linspace(min(SMALLEST, count // 2), count, sizes).round().astype(np.int64)
    scores = np.array([score(random.permutation(count)[:size]) for size in chosen])
    slope, value = np.polyfit(1 / chosen, scores, 1)
    return Extrapolated(float(value), float(slope), chosen, scores)
