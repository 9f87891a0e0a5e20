"""FeatureSet, Reference -> dict[str, Score], values with 95% intervals.

| key | compares | better |
|---|---|---|
| frechet, frechet_at_infinity | normal distributions of features | lower |
| spatial_frechet | the same of spatial features | lower |
| inception_score | class probabilities of the samples alone | higher |
| precision, recall | 3 neighbours | higher |
| density, coverage | 5 neighbours | higher |
| kernel_distance | all moments up to the third | lower |

The title of a score names its features; FID, sFID, Inception Score and KID are Inception's.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adm.app.scoring.extraction import FeatureSet
from adm.app.scoring.reference import INCEPTION, Reference
from adm.metrics import (
    Interval,
    Membership,
    Statistics,
    frechet_at_infinity,
    frechet_distance,
    inception_score,
    inception_score_interval,
    kernel_distance,
    mean_interval,
    membership,
    precision_recall_float16,
)
from adm.metrics.accuracy import wilson
from adm.metrics.bootstrap import RESAMPLES
from adm.metrics.frechet import influence
from adm.metrics.jackknife import GROUPS, jackknife_interval
from adm.metrics.manifold import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS

TITLES = {  # key -> title with Inception's features, title with others
    "frechet": ("FID", "Fréchet distance"),
    "frechet_at_infinity": ("FID at infinite N", "Fréchet distance at infinite N"),
    "spatial_frechet": ("sFID", "spatial Fréchet distance"),
    "inception_score": ("Inception Score", "class score"),
    "precision": ("precision", "precision"),
    "recall": ("recall", "recall"),
    "density": ("density", "density"),
    "coverage": ("coverage", "coverage"),
    "kernel_distance": ("KID", "kernel distance"),
    "precision_float16": ("precision in float16", "precision in float16"),
    "recall_float16": ("recall in float16", "recall in float16"),
}
SCORES = tuple(TITLES)
FLOAT16 = ("precision_float16", "recall_float16")
USUAL = tuple(key for key in SCORES if key not in FLOAT16)
MEMBERSHIP = ("precision", "recall", "density", "coverage")
FEWEST_EXTRAPOLATED = 200  # images; below, the scatter of the subsets exceeds the trend
DEVIATIONS = 1.96  # standard deviations around the mean that hold 95% of a normal distribution


class Score(NamedTuple):
    """A score and its 95% interval.

    Attributes:
        value: the score.
        low, high: the interval for equally many other samples of the same generator against the
            same reference; NaN if it is unknown.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Return the fields by name; NaN becomes None, because JSON has no NaN."""
        return {key: x if math.isfinite(x) else None for key, x in self._asdict().items()}


def title(key: str, features: str) -> str:
    """Return the title of a score: `FID`, `precision (inception)`, `Fréchet distance (dinov2)`.

    Raises:
        ValueError: the key is unknown.
    """
    if key not in TITLES:
        raise ValueError(f"no score {key!r}; choose from {', '.join(SCORES)}")
    of_inception, of_others = TITLES[key]
    if features == INCEPTION and of_inception != of_others:
        return of_inception
    return f"{of_others} ({features})"


def scores(
    generated: FeatureSet,
    reference: Reference,
    *,
    only: Sequence[str] = USUAL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Score]:
    """Compute all scores that these sets allow, in the order of `SCORES`.

    A score is omitted if it needs images and the reference stores none, if the features have no
    such kind, or if a set is too small for the number of neighbours.

    Args:
        generated: features of at least 2 samples.
        reference: of the same features.
        only: keys of the scores to compute; `USUAL` are all but those in half precision.
        resamples: number of bootstrap resamples for each interval.
        seed: of the resamples, and of the subsets for kernel distance and extrapolation.
        device: computes the distances between features.

    Returns:
        key -> score.

    Raises:
        ValueError: sets that cannot be compared, or an unknown key.
    """
    for key in only:
        title(key, generated.name)
    found: dict[str, Score] = {}
    if {"frechet", "frechet_at_infinity"} & set(only):
        found |= _frechet(generated, reference, "frechet_at_infinity" in only, resamples, seed)
    if "spatial_frechet" in only:
        found |= _spatial(generated, reference, resamples, seed)
    if "inception_score" in only and generated.logits is not None:
        found["inception_score"] = _inception(generated.logits, resamples, seed)
    if reference.pool is not None:
        if set(MEMBERSHIP) & set(only):
            found |= _membership(generated, reference, resamples, seed, device)
        if "kernel_distance" in only:
            found |= _kernel(generated, reference, seed, device)
        if set(FLOAT16) & set(only) and _enough(generated, reference, PRECISION_NEIGHBOURS):
            both = precision_recall_float16(reference.pool, generated.pool)
            found |= {key: Score(value) for key, value in zip(FLOAT16, both, strict=True)}
    return {key: found[key] for key in SCORES if key in found and key in only}


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64: (N, K) logits -> (N, K) float32."""
    found = np.empty(logits.shape, np.float32)
    for start in range(0, len(logits), 4096):
        part = np.asarray(logits[start : start + 4096], np.float64)
        raised = np.exp(part - part.max(axis=1, keepdims=True))
        found[start : start + 4096] = raised / raised.sum(axis=1, keepdims=True)
    return found


def _frechet(
    generated: FeatureSet, reference: Reference, extrapolate: bool, resamples: int, seed: int
) -> dict[str, Score]:
    real = reference.statistics
    found = {
        "frechet": _distance(generated.pool, generated.statistics, real, resamples, seed)
        if generated.stored is None
        else Score(frechet_distance(real, generated.statistics))
    }
    if extrapolate and generated.stored is None and generated.count >= FEWEST_EXTRAPOLATED:
        at_infinity = frechet_at_infinity(generated.pool, real, seed=seed)
        error = DEVIATIONS * _error_at_zero(1 / at_infinity.sizes, at_infinity.scores)
        plain = found["frechet"]
        found["frechet_at_infinity"] = Score(
            at_infinity.value,
            at_infinity.value - math.hypot(plain.value - plain.low, error),
            at_infinity.value + math.hypot(plain.high - plain.value, error),
        )
    return found


def _spatial(
    generated: FeatureSet, reference: Reference, resamples: int, seed: int
) -> dict[str, Score]:
    own, real = generated.spatial_statistics, reference.spatial
    if own is None or real is None:
        return {}
    if generated.stored is not None or generated.spatial is None:
        return {"spatial_frechet": Score(frechet_distance(real, own))}
    return {"spatial_frechet": _distance(generated.spatial, own, real, resamples, seed)}


def _distance(
    features: np.ndarray, own: Statistics, real: Statistics, resamples: int, seed: int
) -> Score:
    """Compute a Fréchet distance, with an interval from resampled influences of the images."""
    value = frechet_distance(real, own)
    low, high = mean_interval(influence(features, real), resamples, seed=seed)
    return Score(value, max(0.0, value + low), value + high)


def _error_at_zero(x: np.ndarray, y: np.ndarray) -> float:
    """Return the standard error of the intercept of the least-squares line through (x, y)."""
    slope, at_zero = np.polyfit(x, y, 1)
    around = ((x - x.mean()) ** 2).sum()
    left = ((y - at_zero - slope * x) ** 2).sum() / (len(x) - 2)
    return float(np.sqrt(left * (1 / len(x) + x.mean() ** 2 / around)))


def _inception(logits: np.ndarray, resamples: int, seed: int) -> Score:
    p = probabilities(logits)
    resamples = min(resamples, 200)  # each is a product of (5,000,) and (5,000, K)
    return _score(inception_score(p), inception_score_interval(p, resamples=resamples, seed=seed))


def _membership(
    generated: FeatureSet, reference: Reference, resamples: int, seed: int, device: str
) -> dict[str, Score]:
    assert reference.pool is not None
    if not _enough(generated, reference, PRECISION_NEIGHBOURS):
        return {}
    both = _enough(generated, reference, DENSITY_NEIGHBOURS)
    found = membership(
        reference.pool,
        generated.pool,
        density_neighbours=DENSITY_NEIGHBOURS if both else PRECISION_NEIGHBOURS,
        device=device,
        real_distances=reference.reach if both else None,
        jackknife_seed=seed if generated.count >= 2 * GROUPS else None,
    )
    each, keys = per_image(found), MEMBERSHIP if both else MEMBERSHIP[:2]
    given = {key: Score(float(each[key].mean())) for key in keys}
    # Whether a sample is in the manifold of real images does not depend on the other samples.
    given["precision"] = Score(*wilson(int(found.fake_in_real.sum()), len(found.balls)))
    if both and np.ptp(found.balls):  # equal values, such as of samples in no ball, have no spread
        interval = mean_interval(each["density"], resamples, seed=seed)
        given["density"] = _score(given["density"].value, interval)
    if found.jackknife is not None:  # proportions of the real images
        for key, held in zip(
            ("recall", "coverage"), found.jackknife.recall_and_coverage(), strict=True
        ):
            if key in given:
                interval = jackknife_interval(given[key].value, held, len(found.balls))
                given[key] = _score(given[key].value, interval)
    return given


def per_image(found: Membership) -> dict[str, np.ndarray]:
    """Return key -> (N,) values of the images, whose mean is the score."""
    return {
        "precision": found.fake_in_real,
        "recall": found.real_in_fake,
        "density": found.balls / DENSITY_NEIGHBOURS,
        "coverage": found.covered,
    }


def _kernel(
    generated: FeatureSet, reference: Reference, seed: int, device: str
) -> dict[str, Score]:
    assert reference.pool is not None
    if not _enough(generated, reference, DENSITY_NEIGHBOURS):
        return {}
    found = kernel_distance(reference.pool, generated.pool, seed=seed, device=device)
    return {"kernel_distance": _score(found.value, found.interval())}


def _enough(generated: FeatureSet, reference: Reference, neighbours: int) -> bool:
    assert reference.pool is not None
    return min(generated.count, len(reference.pool), len(generated.pool)) > neighbours


def _score(value: float, interval: Interval) -> Score:
    return Score(float(value), *interval)
