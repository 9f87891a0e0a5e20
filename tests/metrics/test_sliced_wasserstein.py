"""two sets of features -> their sliced Wasserstein distance, and how far it would move."""

import numpy as np
import pytest

from adm.metrics.sliced_wasserstein import IMAGES, sliced_wasserstein

RANDOM = np.random.default_rng(0)


def rotation(dim: int) -> np.ndarray:
    return np.linalg.qr(RANDOM.normal(size=(dim, dim)))[0]


def test_a_shift_is_three_times_its_square_in_any_space() -> None:
    # Along u a set moved by m lies u m from itself, and E (u m)^2 = |m|^2 / D.
    for dim in (2, 5, 40):
        x, shift = RANDOM.normal(size=(300, dim)), RANDOM.normal(size=dim)
        distance = sliced_wasserstein(x, x + shift, directions=20_000)
        assert distance.value == pytest.approx(3 * (shift @ shift), rel=0.05)


def test_a_scale_is_known_too() -> None:
    # W_2^2 of x and s x is (s - 1)^2 times the second moment, of which u takes a D-th on average.
    x = RANDOM.normal(size=(300, 8)) * np.arange(1, 9)
    distance = sliced_wasserstein(x, 1.5 * x, directions=20_000)
    assert distance.value == pytest.approx(3 * 0.25 * (x**2).sum(axis=1).mean(), rel=0.05)


def test_of_one_feature_it_is_the_cost_of_the_best_assignment() -> None:
    assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
    x, y = RANDOM.normal(size=(30, 1)), RANDOM.gamma(2, size=(30, 1))
    cost = (x - y.T) ** 2
    best = cost[assignment(cost)].mean()
    assert sliced_wasserstein(x, y).value == pytest.approx(3 * best)


def test_equal_sets_are_at_distance_zero_in_any_order() -> None:
    x = RANDOM.normal(size=(200, 6)).astype(np.float32)
    assert sliced_wasserstein(x, x).value == 0
    assert sliced_wasserstein(x, RANDOM.permutation(x)).value == pytest.approx(0, abs=1e-12)


def test_units_and_order_do_not_matter_and_the_seed_decides() -> None:
    x, y = RANDOM.normal(size=(150, 6)), RANDOM.normal(0.4, 1.3, size=(150, 6))
    distance = sliced_wasserstein(x, y, seed=3)
    assert distance == sliced_wasserstein(x, y, seed=3)
    assert distance.value != sliced_wasserstein(x, y, seed=4).value
    assert sliced_wasserstein(10 * x, 10 * y, seed=3).value == pytest.approx(100 * distance.value)
    assert sliced_wasserstein(y, x, seed=3).value == pytest.approx(distance.value)
    mixed = sliced_wasserstein(RANDOM.permutation(x), RANDOM.permutation(y), seed=3)
    assert mixed.value == pytest.approx(distance.value)
    turn = rotation(6)
    options = {"directions": 20_000}
    turned = sliced_wasserstein(x @ turn, y @ turn, **options).value
    assert turned == pytest.approx(sliced_wasserstein(x, y, **options).value, rel=0.03)


def test_of_more_images_as_many_are_drawn_of_both() -> None:
    # The bias falls with the number of images, so a distance of more would be another score.
    x, y = RANDOM.normal(size=(IMAGES + 900, 2)), RANDOM.normal(size=(IMAGES + 300, 2))
    full, part = (sliced_wasserstein(x, y, 50, images=n).value for n in (IMAGES, 500))
    assert part > 3 * full


def test_the_interval_is_that_of_fresh_samples() -> None:
    real, options = RANDOM.normal(size=(200, 10)), {"directions": 100, "resamples": 400}
    scores = [
        sliced_wasserstein(real, RANDOM.normal(0.15, 1.2, size=(200, 10)), **options)
        for _ in range(100)
    ]
    values = np.array([score.value for score in scores])
    widths = [(score.high - score.low) / 2 / 1.96 for score in scores]
    assert np.mean(widths) == pytest.approx(values.std(), rel=0.25)
    assert np.mean([score.low <= values.mean() <= score.high for score in scores]) >= 0.88


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same extractor"):
        sliced_wasserstein(np.zeros((9, 3)), np.zeros((9, 4)))
    with pytest.raises(ValueError, match="not finite"):
        sliced_wasserstein(np.full((9, 3), np.nan), np.zeros((9, 3)))
