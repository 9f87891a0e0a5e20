"""Logits, labels -> accuracy with its 95% interval."""

import math
from typing import NamedTuple

from torch import Tensor

Z_95 = 1.959964  # standard deviations that hold 95% of a normal distribution


class Share(NamedTuple):
    """A proportion in [0, 1] with its 95% interval (Wilson 1927)."""

    value: float
    low: float
    high: float


def accuracy(logits: Tensor, labels: Tensor) -> Share:
    """Proportion of images whose most likely class is their label.

    Args:
        logits: (N, classes).
        labels: (N,) int64.

    Raises:
        ValueError: no images.
    """
    if not len(labels):
        raise ValueError("accuracy needs at least one image, got none")
    return wilson(int((logits.argmax(dim=1) == labels).sum()), len(labels))


def wilson(successes: int, count: int) -> Share:
    """`successes` of `count` as a proportion, with Wilson's interval, which contains it."""
    share, spread = successes / count, Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # At 0 and 1 one end is the proportion itself, which rounding must not overshoot.
    return Share(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
