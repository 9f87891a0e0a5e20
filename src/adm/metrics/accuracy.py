"""Logits, labels -> accuracy; scores, labels -> area under the ROC curve: with 95% intervals."""

import math

import numpy as np
from torch import Tensor

from adm.metrics.bootstrap import RESAMPLES, centred_interval
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


def roc_area(
    scores: np.ndarray, positive: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Score:
    """Area under the ROC curve: how often a positive image has the higher score than another one.

    Equal scores count half. The interval is that of a bootstrap within positives and others.

    Args:
        scores: (N,), higher for images that are more likely positive.
        positive: (N,) bool.

    Raises:
        ValueError: no image is positive, or all are, or a score is not finite.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    own, others = scores[positive], scores[~positive]
    if not len(own) or not len(others) or not np.isfinite(scores).all():
        raise ValueError(
            f"an area needs finite scores of both kinds of images, got {len(own)} positive and "
            f"{len(others)} other ones"
        )

    def area(above: np.ndarray, below: np.ndarray) -> float:
        ranked = np.sort(below)
        less, up_to = (np.searchsorted(ranked, above, side) for side in ("left", "right"))
        return float((less + up_to).mean()) / (2 * len(below))

    random = np.random.default_rng(seed)
    drawn = [
        area(random.choice(own, len(own)), random.choice(others, len(others)))
        for _ in range(resamples)
    ]
    value = area(own, others)
    low, high = centred_interval(value, np.array(drawn))
    return Score(value, max(0.0, low), min(1.0, high))
