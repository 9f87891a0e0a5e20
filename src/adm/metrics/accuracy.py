"""logits, labels -> the share named right, and how sure it is."""

import math
from typing import NamedTuple

from torch import Tensor

Z_95 = 1.959964  # standard deviations that hold 95% of a normal distribution


class Share(NamedTuple):
    """A share in [0, 1] with its 95% interval (Wilson 1927)."""

    value: float
    low: float
    high: float


def accuracy(logits: Tensor, labels: Tensor) -> Share:
    """Share of images whose most likely class is their label.

    Args:
        logits: (N, classes).
        labels: (N,) int64.

    Raises:
        ValueError: no images.
    """
    if not len(labels):
        raise ValueError("accuracy needs at least one image")
    return wilson(int((logits.argmax(dim=1) == labels).sum()), len(labels))


def wilson(right: int, count: int) -> Share:
    """`right` of `count` as a share, with an interval that holds the share itself."""
    share, spread = right / count, Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # At 0 and 1 one end is the share itself, which rounding must not overshoot.
    return Share(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
