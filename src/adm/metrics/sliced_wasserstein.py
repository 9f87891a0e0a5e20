"""Features, features -> sliced Wasserstein distance; with Inception's features, MIND.

    3 D E_u W_2^2(u x, u y),   u uniform on the sphere in D dimensions

(Berthet et al. 2026, "MIND: Monge Inception Distance"). Of two sets of n numbers, W_2^2 is the mean
of (x_(k) - y_(k))^2, the squared differences of the k-th smallest, so that no covariance is
estimated. For two distributions that differ by a shift m it is 3 |m|^2, where the Fréchet distance
is |m|^2. It is biased upwards by nearly a multiple of 1 / n, so n is the same in every report.
"""

import numpy as np

from adm.metrics.bootstrap import RESAMPLES, mean_interval
from adm.metrics.checks import check_comparable
from adm.metrics.metric import Metric, Score, Sets

DIRECTIONS, IMAGES = 1000, 5000  # as in the paper
FACTOR = 3
FEWEST = 6  # images of each set of a report
AT_ONCE = 100  # directions


def sliced_wasserstein(
    real: np.ndarray,
    fake: np.ndarray,
    directions: int = DIRECTIONS,
    images: int = IMAGES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """(N, D) and (M, D) features -> the distance and its interval, with the real ones held fixed.

    The interval resamples the influence of each fake image: the first-order change of the distance
    with the image's weight, which is Kantorovich's potential (del Barrio and Loubes 2019).

    Args:
        directions: number of random ones.
        images: largest number of each set, which are drawn at random; of the larger set no more
            are drawn than the smaller one has.
        seed: of directions, drawn images and resamples.

    Raises:
        ValueError: not comparable.
    """
    check_comparable(real, fake)
    random, count = np.random.default_rng(seed), min(len(real), len(fake), images)
    x, y = (_drawn(each, count, random) for each in (fake, real))
    squared, influences = 0.0, np.zeros(count)
    for start in range(0, directions, AT_ONCE):
        u = random.standard_normal((min(AT_ONCE, directions - start), x.shape[1]))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        along = u @ x.T
        order = np.argsort(along, axis=1)
        from_, to = np.take_along_axis(along, order, axis=1), np.sort(u @ y.T, axis=1)
        squared += float(((from_ - to) ** 2).mean(axis=1).sum())
        np.add.at(influences, order, _potential(from_, to))
    scale = FACTOR * x.shape[1] / directions
    value, influences = scale * squared, scale * (influences - influences.mean())
    low, high = mean_interval(influences, resamples, seed=seed)
    return Score(value, max(0.0, value + low), value + high)


def _drawn(features: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return (count, D) float64 rows, in their order."""
    rows = np.sort(random.choice(len(features), count, replace=False))
    return features[rows].astype(np.float64)


def _potential(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sorted (U, n) and (U, n) -> Kantorovich's potential at each x, up to a constant of the row.

    Its slope is 2 (x - y), of x and the y to which x moves; between two of them, the mean of both.
    """
    slope = x - y
    steps = np.diff(x, axis=1) * (slope[:, 1:] + slope[:, :-1])
    return np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))


def _score(sets: Sets) -> Score | None:
    if sets.real is None or not sets.more_than(FEWEST - 1):
        return None
    return sliced_wasserstein(sets.real, sets.fake, resamples=sets.resamples, seed=sets.seed)


SLICED_WASSERSTEIN = Metric(
    key="sliced_wasserstein",
    title="sliced Wasserstein distance",
    of_inception="MIND",
    lower_is_better=True,
    score=_score,
)
