"""scores of few images -> the score of infinitely many."""

import numpy as np
import pytest

from adm.metrics import (
    Statistics,
    at_infinity,
    frechet_at_infinity,
    frechet_distance,
    statistics,
)

DIM = 32


def test_a_line_in_one_over_n_is_read_off_exactly() -> None:
    fit = at_infinity(lambda rows: 5 + 300 / len(rows), 20_000)
    assert fit.value == pytest.approx(5)
    assert fit.slope == pytest.approx(300)
    assert (fit.sizes[0], fit.sizes[-1], len(fit.sizes)) == (5000, 20_000, 15)


def test_subsets_are_drawn_without_replacement_by_the_seed() -> None:
    drawn: list[np.ndarray] = []

    def score(rows: np.ndarray) -> float:
        drawn.append(rows)
        return float(rows[0])

    first, again, other = (at_infinity(score, 40, 3, seed) for seed in (1, 1, 2))
    assert first.value == again.value != other.value
    assert [len(rows) for rows in drawn[:3]] == [20, 30, 40]
    assert all(len(np.unique(rows)) == len(rows) for rows in drawn)


def test_the_distance_of_two_normals_is_recovered() -> None:
    # Where covariances commute it is |m - m'|^2 + |s - s'|^2.
    real = Statistics(np.zeros(DIM, np.float32), np.eye(DIM))
    expected = DIM * (0.1**2 + 0.05**2)
    plain, corrected = [], []
    for seed in range(8):
        fake = np.random.default_rng(seed).normal(0.1, 1.05, size=(600, DIM))
        plain.append(frechet_distance(real, statistics(fake)) - expected)
        corrected.append(frechet_at_infinity(fake, real, seed=seed).value - expected)
    print(f"error of the plain distance {np.mean(plain):.3f}, corrected {np.mean(corrected):.3f}")
    assert abs(np.mean(corrected)) < abs(np.mean(plain)) / 5
    assert np.mean(np.square(corrected)) < np.mean(np.square(plain)) / 4


def test_too_few_images_are_refused() -> None:
    real = Statistics(np.zeros(2, np.float32), np.eye(2))
    with pytest.raises(ValueError, match="N >= 4"):
        frechet_at_infinity(np.zeros((3, 2)), real)
    with pytest.raises(ValueError, match="give more"):
        at_infinity(lambda rows: 0.0, 100, sizes=1)
    with pytest.raises(ValueError, match="same extractor"):
        frechet_at_infinity(np.zeros((8, 3)), real)
