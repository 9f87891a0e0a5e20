"""images degraded step by step -> scores that follow."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from adm.metrics import density_coverage, precision_recall


def images(seed: int) -> np.ndarray:
    """(900, 8, 8) of stripes and checks, of four classes."""
    random = np.random.default_rng(seed)
    labels = random.choice(4, size=900, p=np.full(4, 0.25))
    y, x = np.mgrid[:8, :8]
    waves = np.stack([x % 2, y % 2, (x + y) % 2, (x // 2 + y // 2) % 2])
    return waves[labels] + random.normal(0, 0.25, size=(900, 8, 8))


def noisy(step: int) -> np.ndarray:
    pixels = images(2) + np.random.default_rng(3).normal(0, 0.15 * step, size=(900, 8, 8))
    return pixels.reshape(900, -1)


def blurred(step: int) -> np.ndarray:
    pixels = images(2)
    for _ in range(step):
        for axis in (1, 2):
            around = np.roll(pixels, 1, axis) + np.roll(pixels, -1, axis)
            pixels = (3 * pixels + 0.1 * around) / 3.2
    return pixels.reshape(900, -1)


REAL = images(1).reshape(900, -1)


@pytest.mark.parametrize("worse", [noisy, blurred])
def test_coverage_falls_with_quality(worse: Callable[[int], np.ndarray]) -> None:
    scores = [density_coverage(REAL, worse(step)) for step in range(4)]
    assert all(a.coverage > b.coverage for a, b in pairwise(scores))
    # Blur draws images to the middle of their class, where the most balls meet.
    assert (scores[1].density < scores[0].density) == (worse is noisy)


def test_recall_believes_in_noise_and_coverage_does_not() -> None:
    # Noisy images lie far from each other: their balls are large, and real images fall into them.
    fresh, worst = noisy(0), noisy(3)
    assert precision_recall(REAL, worst).recall > precision_recall(REAL, fresh).recall
    assert density_coverage(REAL, worst).coverage < 0.1
