"""images made worse step by step -> numbers that follow."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from adm.metrics import (
    density_coverage,
    frechet_distance,
    kernel_distance_of_all,
    precision_recall,
    statistics,
)

STEPS = 4


def images(seed: int, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(900, 8, 8) of stripes and checks, four classes by their shares, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.choice(4, size=900, p=shares)
    y, x = np.mgrid[:8, :8]
    waves = np.stack([x % 2, y % 2, (x + y) % 2, (x // 2 + y // 2) % 2])
    return waves[labels] + random.normal(0, 0.25, size=(900, 8, 8)), labels


def blurred(pixels: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        for axis in (1, 2):
            around = np.roll(pixels, 1, axis) + np.roll(pixels, -1, axis)
            pixels = (3 * pixels + 0.1 * around) / 3.2
    return pixels


def noisy(step: int) -> np.ndarray:
    pixels, _ = images(2, np.full(4, 0.25))
    return pixels + np.random.default_rng(3).normal(0, 0.15 * step, size=pixels.shape)


def soft(step: int) -> np.ndarray:
    return blurred(images(2, np.full(4, 0.25))[0], step)


def uneven(step: int) -> np.ndarray:
    shares = np.array([1, 1, 1, 1]) - 0.25 * step * np.array([0, 0, 1, 1])
    return images(2, shares / shares.sum())[0]


WORSE = [noisy, soft, uneven]
REAL = images(1, np.full(4, 0.25))[0].reshape(900, -1)


def flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)


def rising(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


@pytest.mark.parametrize("worse", WORSE)
def test_distances_grow(worse: Callable[[int], np.ndarray]) -> None:
    sets = [flat(worse(step)) for step in range(STEPS)]
    real = statistics(REAL)
    assert rising([frechet_distance(real, statistics(fake)) for fake in sets])
    assert rising([kernel_distance_of_all(REAL, fake) for fake in sets])


@pytest.mark.parametrize("worse", [noisy, soft])
def test_coverage_falls_with_quality(worse: Callable[[int], np.ndarray]) -> None:
    scores = [density_coverage(REAL, flat(worse(step))) for step in range(STEPS)]
    assert rising([-score.coverage for score in scores])
    # Blur draws images to the middle of their class, where the most balls meet.
    assert (scores[1].density < scores[0].density) == (worse is noisy)


def test_recall_believes_in_noise_and_coverage_does_not() -> None:
    # Noisy images lie far from each other: their balls are large, and real images fall into them.
    fresh, worst = flat(noisy(0)), flat(noisy(3))
    assert precision_recall(REAL, worst).recall > precision_recall(REAL, fresh).recall
    assert density_coverage(REAL, worst).coverage < 0.1


def test_noise_takes_precision_and_imbalance_only_coverage() -> None:
    fresh, worst, missing = flat(noisy(0)), flat(noisy(3)), flat(uneven(4))
    assert precision_recall(REAL, worst).precision < 0.1 < precision_recall(REAL, fresh).precision
    assert precision_recall(REAL, missing).precision > 0.9 * precision_recall(REAL, fresh).precision
    whole, halved = (density_coverage(REAL, fake).coverage for fake in (fresh, missing))
    assert halved < 0.65 * whole  # two of four classes are not made at all
