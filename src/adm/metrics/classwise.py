"""Labels, score of a set of images -> score of each class."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def by_class(
    labels: np.ndarray, score: Callable[[np.ndarray], T], minimum: int = 2
) -> dict[int, T | None]:
    """Score the images of each class: a dictionary from label, in order, to score.

        by_class(labels, lambda rows: frechet_distance(real, statistics(features[rows])))

    Args:
        labels: (N,) integers.
        score: maps the int64 rows of one class to its score.
        minimum: images that a class needs; the score of a class with fewer is None.

    Raises:
        ValueError: labels that are not (N,) integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be (N,) integers, got {labels.dtype} {labels.shape}")
    rows = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    return {label: score(own) if len(own) >= minimum else None for label, own in rows.items()}
