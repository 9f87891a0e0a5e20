"""Logits, labels -> accuracy; successes, count -> proportion: with 95% intervals."""

import math

from torch import Tensor

from adm.metrics.metric import Score

Z_95 = 1.959964  # standard deviations that hold 95% of a normal distribution


def accuracy(logits: Tensor, labels: Tensor) -> Score:
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


def wilson(successes: float, count: float) -> Score:
    """`successes` of `count` as a proportion, with Wilson's interval (1927), which contains it."""
    share, spread = successes / count, Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # At 0 and 1 one end is the proportion itself, which rounding must not overshoot.
    return Score(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
