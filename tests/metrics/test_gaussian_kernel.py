"""two sets of features -> their distance by a Gaussian kernel on the sphere, without bias."""

import numpy as np
import pytest

from adm.metrics.gaussian_kernel import gaussian_kernel_distance

RANDOM = np.random.default_rng(0)


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, pair by pair."""
    x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y))
    kernel = lambda a, b: np.exp(-((a - b) ** 2).sum() / 200)  # noqa: E731
    total = 0.0
    for own in (x, y):
        total += np.mean([kernel(a, b) for i, a in enumerate(own) for b in np.delete(own, i, 0)])
    return float(1000 * (total - 2 * np.mean([kernel(a, b) for a in x for b in y])))


def test_the_distance_is_that_of_the_definition() -> None:
    x, y = RANDOM.normal(size=(9, 4)), RANDOM.normal(0.5, 1, size=(7, 4))
    assert gaussian_kernel_distance(x, y).value == pytest.approx(by_pairs(x, y), rel=1e-9)
    assert gaussian_kernel_distance(y, x).value == pytest.approx(by_pairs(x, y), rel=1e-9)


def test_the_distance_of_two_points_is_known() -> None:
    # On the unit sphere, opposite points are 2 apart and orthogonal ones the root of 2.
    a, b = np.tile([3.0, 0.0], (9, 1)), np.tile([0.0, 0.2], (8, 1))
    for one, squared in ((b, 2), (-a, 4), (5 * a, 0)):
        expected = 2000 * (1 - np.exp(-squared / 200))
        assert gaussian_kernel_distance(a, one).value == pytest.approx(expected, abs=1e-9)


def test_equal_distributions_are_at_distance_zero_on_average() -> None:
    draws = RANDOM.normal(size=(300, 2, 12, 5))
    values = np.array([gaussian_kernel_distance(x, y, resamples=2).value for x, y in draws])
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean()) < 3 * error
    assert 1000 * (1 - np.exp(-2 / 200)) / 12 > 10 * error  # what the diagonal would add


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_and_dtypes_do_not_show(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RANDOM.normal(size=(130, 6)), RANDOM.normal(0.5, 1, size=(90, 6))
    whole = gaussian_kernel_distance(x, y).value
    monkeypatch.setitem(gaussian_kernel_distance.__globals__, "BLOCK", block)
    assert gaussian_kernel_distance(x, y).value == pytest.approx(whole, rel=1e-9)
    narrow = gaussian_kernel_distance(x.astype(np.float32), y.astype(np.float32)).value
    assert narrow == pytest.approx(whole, rel=1e-3)


@pytest.mark.slow
def test_the_interval_is_that_of_fresh_samples() -> None:
    real = RANDOM.normal(1, 1, size=(300, 10))
    scores = [gaussian_kernel_distance(real, RANDOM.normal(1.3, 1, (300, 10))) for _ in range(120)]
    values = [score.value for score in scores]
    widths = [(score.high - score.low) / 2 / 1.96 for score in scores]
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.25)
    inside = [score.low <= np.mean(values) <= score.high for score in scores]
    assert np.mean(inside) >= 0.88
