"""Features, features -> Fréchet distance; with Inception's features, FID."""

from collections.abc import Callable

import numpy as np
import torch

from adm.metrics.bootstrap import RESAMPLES, mean_interval
from adm.metrics.metric import Metric, Score, Sets
from adm.metrics.moments import Statistics, check_statistics, statistics

EPSILON = float(np.finfo(np.float64).eps)
FEWEST = 3  # images whose distance has an interval
ROUNDING = 1e-8  # of an influence, as a share of all variances


def frechet_distance(real: Statistics, fake: Statistics) -> float:
    """Squared Fréchet distance between two normal distributions (Heusel et al. 2017, equation 6).

    |m - m'|^2 + tr(C) + tr(C') - 2 tr((C C')^(1/2)). With C = F F^T and C' = F' F'^T the last
    trace is the sum of the singular values of F^T F'. They exist for singular covariances too, so
    that fewer images than features need no jitter, and are as accurate for small values as for
    large ones. The distance of a set to itself is exactly 0, and the distance is symmetric.

    Raises:
        ValueError: the two have different numbers of features, or one is not finite.
    """
    check_statistics(real, fake)
    if _same(real, fake):
        return 0.0
    first, second = sorted(  # so that both orders round alike
        (real, fake), key=lambda each: (float(np.trace(each.covariance)), each.mean.tobytes())
    )
    common = factor(first.covariance).T @ factor(second.covariance)
    return _distance(first, second, np.linalg.svd(common, compute_uv=False).sum())


def frechet_to(real: Statistics) -> Callable[[Statistics], float]:
    """`frechet_distance` to one fixed distribution; several times as fast for each other one.

    The singular values come from the eigenvalues of F^T C' F, which are accurate to about 1e-8 of
    the largest one: enough for estimates, a sweep or an extrapolation.

    Raises:
        ValueError: not finite; the returned function also for different numbers of features.
    """
    check_statistics(real, real)
    own = factor(real.covariance)

    def distance(fake: Statistics) -> float:
        check_statistics(real, fake)
        product = torch.from_numpy(own.T @ fake.covariance @ own)
        common = torch.linalg.eigvalsh(product).numpy()  # twice as fast as NumPy's
        return _distance(real, fake, np.sqrt(common.clip(min=0)).sum())

    return distance


def frechet_of_few(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Fréchet distance of (N, D) and (M, D) features without a D x D matrix.

    The covariance of centred features X is F F^T with F = X^T / (N - 1)^(1/2), so that the trace of
    (C C')^(1/2) is the sum of the singular values of F^T F', an N x M matrix.

    Raises:
        ValueError: a set has fewer than 2 images.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"each set must have at least 2 images, got {len(real)} and {len(fake)}")
    x, y = (np.asarray(each, np.float64) for each in (real, fake))
    shift = x.mean(axis=0) - y.mean(axis=0)
    x, y = ((each - each.mean(axis=0)) / np.sqrt(len(each) - 1) for each in (x, y))
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * shared))


def influence(features: np.ndarray, real: Statistics) -> np.ndarray:
    """Influence of each image on the Fréchet distance to `real`.

    To first order, giving an image the weight 1 + w instead of 1 changes the distance by w / N
    times its influence. With T the optimal transport map from this set's covariance to the real
    one, and x an image's features minus their mean m, it is

        2 (m - m') x + x^T (1 - T) x N / (N - 1), minus its mean over the images.

    Bootstrapping the mean of the influences stands for bootstrapping the distance, and needs no
    decomposition of a D x D matrix for each resample.

    Returns:
        (N,) float64 of mean 0.

    Raises:
        ValueError: as `statistics` and `frechet_distance`.
    """
    own = statistics(features)
    check_statistics(own, real)
    to_real = factor(real.covariance)
    values, vectors = np.linalg.eigh(to_real.T @ own.covariance @ to_real)
    positive = values > len(values) * EPSILON * values.max(initial=0)
    transport = to_real @ (vectors[:, positive] * values[positive] ** -0.25)  # T is its square
    mean, pull = own.mean.astype(np.float64), 2 * (own.mean.astype(np.float64) - real.mean)
    parts = []
    for start in range(0, len(features), 1024):
        x = np.asarray(features[start : start + 1024], dtype=np.float64) - mean
        stretch = (x**2).sum(axis=1) - ((x @ transport) ** 2).sum(axis=1)
        parts.append(x @ pull + stretch * len(features) / (len(features) - 1))
    together = np.concatenate(parts)
    return together - together.mean()


def frechet_score(
    features: np.ndarray,
    real: Statistics,
    own: Statistics | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """The Fréchet distance of (N, D) features to `real`, which is held fixed, with its interval.

    It resamples the `influence` of the images, which for N several times D has the spread of the
    full bootstrap. (`resample` does that one, with a D x D decomposition for each resample.) There
    is no interval where the influences say nothing of it: of two images, which are at the same
    distance from their mean; and where all are 0, as of images that are all equal, or that have the
    statistics of the real ones.

    Args:
        own: statistics of the features, if they are known.

    Raises:
        ValueError: as `influence`.
    """
    own = statistics(features) if own is None else own
    value, influences = frechet_distance(real, own), influence(features, real)
    spread = float(np.trace(real.covariance) + np.trace(own.covariance))
    if len(features) < FEWEST or np.abs(influences).max() <= ROUNDING * spread:
        return Score(value)
    low, high = mean_interval(influences, resamples, seed=seed)
    return Score(value, max(0.0, value + low), value + high)


def factor(covariance: np.ndarray) -> np.ndarray:
    """(D, D) covariance -> F (D, R) with F F^T the covariance, R its rank.

    The Cholesky factor where it exists; otherwise from the eigenvectors of positive variance.
    """
    noise = len(covariance) * EPSILON * float(np.diagonal(covariance).max())
    try:
        lower = np.linalg.cholesky(covariance)
        if (np.diagonal(lower) ** 2).min() > noise:
            return lower
    except np.linalg.LinAlgError:  # singular: fewer images than features, or a constant one
        pass
    values, vectors = np.linalg.eigh(covariance)
    positive = values > len(values) * EPSILON * values.max(initial=0)
    return vectors[:, positive] * np.sqrt(values[positive])


def _same(real: Statistics, fake: Statistics) -> bool:
    return np.array_equal(real.mean, fake.mean) and np.array_equal(real.covariance, fake.covariance)


def _distance(real: Statistics, fake: Statistics, shared: float) -> float:
    shift = real.mean.astype(np.float64) - fake.mean.astype(np.float64)
    spread = np.trace(real.covariance) + np.trace(fake.covariance)
    return max(0.0, float(shift @ shift + spread - 2 * shared))


def frechet_of(sets: Sets) -> Score:
    """The Fréchet distance of sets, without an interval where a file states their statistics."""
    return _score(sets.fake, sets.fake_statistics, sets.real_statistics, sets)


def _spatial_of(sets: Sets) -> Score | None:
    if sets.fake_spatial is None or sets.real_spatial is None:
        return None
    return _score(sets.spatial, sets.fake_spatial, sets.real_spatial, sets)


def _score(features: np.ndarray | None, own: Statistics, real: Statistics, sets: Sets) -> Score:
    if features is None or sets.stored:
        return Score(frechet_distance(real, own))
    return frechet_score(features, real, own, sets.resamples, sets.seed)


FRECHET = Metric(
    key="frechet",
    title="Fréchet distance",
    of_inception="FID",
    lower_is_better=True,
    score=lambda sets: sets.once(frechet_of),
)
SPATIAL_FRECHET = Metric(
    key="spatial_frechet",
    title="spatial Fréchet distance",
    of_inception="sFID",
    lower_is_better=True,
    score=_spatial_of,
)
