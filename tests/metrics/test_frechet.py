"""covariances, near-singular ones too -> their known Fréchet distance."""

import numpy as np
import pytest
import scipy.linalg

from adm.metrics import Statistics, frechet_distance, frechet_to, statistics
from adm.metrics.frechet import factor, influence

RANDOM = np.random.default_rng(0)


def drawn(count: int, dim: int, spread: float = 1.0, seed: int = 0) -> Statistics:
    """Of features whose directions have variances from 1 down to 1e-8."""
    random = np.random.default_rng(seed)
    scales = spread * np.logspace(0, -4, dim)
    return statistics(random.normal(size=(count, dim)) * scales + random.normal(size=dim) * scales)


def released(real: Statistics, fake: Statistics, epsilon: float = 1e-6) -> float:
    """As published: a Schur square root, and a jitter where it fails."""
    product = scipy.linalg.sqrtm(real.covariance @ fake.covariance)
    if not np.isfinite(product).all():
        jitter = epsilon * np.eye(len(real.mean))
        product = scipy.linalg.sqrtm((real.covariance + jitter) @ (fake.covariance + jitter))
    shift = real.mean.astype(float) - fake.mean
    spread = np.trace(real.covariance) + np.trace(fake.covariance)
    return float(shift @ shift + spread - 2 * np.trace(product).real)


@pytest.mark.parametrize(("images", "tolerance"), [(500, 1e-6), (40, 1e-3), (20, 1e-3)])
def test_the_distance_is_that_of_the_released_code(images: int, tolerance: float) -> None:
    real, fake = drawn(500, 64, seed=1), drawn(images, 64, 1.3, seed=2)
    ours, theirs = frechet_distance(real, fake), released(real, fake)
    print(f"N {images}, D 64: ours {ours:.12f}, released {theirs:.12f}, {ours - theirs:+.1e}")
    assert ours == pytest.approx(theirs, rel=tolerance)


@pytest.mark.parametrize("images", [3, 64, 500])
def test_singular_covariances_have_the_exact_distance(images: int) -> None:
    # Turned and stretched by s, C' is s^2 C: |s - 1|^2 tr C, whatever the rank of C.
    real = drawn(images, 64)
    rotation = np.linalg.qr(RANDOM.normal(size=(64, 64)))[0]
    rotated = Statistics(real.mean @ rotation, rotation.T @ real.covariance @ rotation)
    stretched = Statistics(rotated.mean, 1.21 * rotated.covariance)
    expected = 0.01 * np.trace(real.covariance)
    assert frechet_distance(rotated, stretched) == pytest.approx(expected, rel=1e-9)
    assert frechet_to(rotated)(stretched) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("images", [3, 64, 500])
def test_a_set_is_at_no_distance_from_itself(images: int) -> None:
    one = drawn(images, 64)
    assert frechet_distance(one, one) == 0
    assert frechet_distance(one, Statistics(one.mean.copy(), one.covariance.copy())) == 0
    for seed in range(3):  # exactly so, and not only where rounding happens to end below 0
        other = drawn(images, 64, seed=seed)
        assert frechet_distance(other, other) == 0
    # Also by the formula alone, where rounding hides that the two are equal.
    nearly = Statistics(one.mean, one.covariance * (1 + 1e-15))
    assert frechet_distance(one, nearly) < 1e-9 * np.trace(one.covariance)


@pytest.mark.parametrize("images", [20, 500])
def test_both_orders_give_the_same_bits(images: int) -> None:
    real, fake = drawn(500, 64, seed=1), drawn(images, 64, 1.3, seed=2)
    assert frechet_distance(real, fake) == frechet_distance(fake, real) > 0


def test_constant_features_count_only_by_their_means() -> None:
    still, moved = np.zeros((10, 3)), np.ones((10, 3))
    assert frechet_distance(statistics(still), statistics(moved)) == 3
    normal = statistics(RANDOM.normal(size=(10, 3)))
    expected = np.trace(normal.covariance) + normal.mean.astype(float) @ normal.mean
    assert frechet_distance(statistics(still), normal) == pytest.approx(expected)
    assert frechet_to(statistics(still))(normal) == pytest.approx(expected)
    assert influence(moved, statistics(still)) == pytest.approx(np.zeros(10))  # no transport


@pytest.mark.parametrize("images", [3, 64, 500])
def test_a_factor_s_square_is_the_covariance(images: int) -> None:
    covariance = drawn(images, 64).covariance
    root = factor(covariance)
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-13)
    assert images >= 64 or root.shape[1] == images - 1


def test_influence_is_the_derivative_by_an_image_s_weight() -> None:
    features, real = RANDOM.normal(0.2, 1.3, size=(60, 5)), drawn(500, 5)
    values = influence(features, real)
    assert values.mean() == pytest.approx(0, abs=1e-12)

    def weighted(image: int, more: float) -> float:
        weights = np.ones(60)
        weights[image] += more
        weights /= weights.sum()
        mean = weights @ features
        around = features - mean
        covariance = (around.T * weights) @ around * 60 / 59
        return frechet_distance(real, Statistics(mean, covariance))

    for image in (0, 17, 59):
        slope = 60 * (weighted(image, 1e-4) - weighted(image, -1e-4)) / 2e-4
        assert slope == pytest.approx(values[image], rel=1e-4)


def test_what_cannot_be_compared_is_refused() -> None:
    good = drawn(50, 4)
    with pytest.raises(ValueError, match="recompute the statistics"):
        frechet_distance(good, Statistics(good.mean, good.covariance[:3]))
    for broken in (
        Statistics(good.mean * np.float32("nan"), good.covariance),
        Statistics(good.mean, good.covariance * np.inf),
    ):
        with pytest.raises(ValueError, match="not finite"):
            frechet_distance(good, broken)
    with pytest.raises(ValueError, match="same extractor"):
        frechet_to(good)(drawn(50, 5))
