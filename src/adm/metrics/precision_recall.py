"""features, features -> precision and recall: which share of one set lies among the other.

A set's manifold is the union of a ball around each point, reaching to its k-th neighbour
(Kynkäänniemi et al. 2019). Distances are squared and in float32, like the released evaluator's.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NEIGHBOURS = 3
BLOCK_ROWS = 512  # bounds the memory: this many rows of distances are held at a time


class PrecisionRecall(NamedTuple):
    """Shares in 0..1.

    Attributes:
        precision: of fake images within the real ones' manifold: fidelity.
        recall: of real images within the fake ones' manifold: diversity.
    """

    precision: float
    recall: float


def precision_recall(
    real: np.ndarray, fake: np.ndarray, neighbours: int = NEIGHBOURS
) -> PrecisionRecall:
    """(N, D) and (M, D) features -> precision and recall.

    Raises:
        ValueError: shapes do not match, or a set has no more images than `neighbours`.
    """
    precision = inside(fake, real, radii(real, neighbours)).mean()
    recall = inside(real, fake, radii(fake, neighbours)).mean()
    return PrecisionRecall(float(precision), float(recall))


def radii(features: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """(N, D) features -> (N,) float32, each one's squared distance to its k-th neighbour.

    A point is no neighbour of itself; an equal one is.

    Raises:
        ValueError: fewer than `neighbours` others, or not (N, D).
    """
    if features.ndim != 2 or not 1 <= neighbours < len(features):
        raise ValueError(
            f"features must be (N, D) with N > {neighbours} neighbours >= 1, got {features.shape}; "
            "give more images, or ask for fewer neighbours"
        )
    found = []
    for start, distances in _blocks(features, features):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = np.inf
        found.append(np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1])
    return np.concatenate(found)


def inside(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(N,) bool: which points lie in at least one ball, its surface included.

    Args:
        points: (N, D).
        centres: (M, D).
        radii: (M,) squared.

    Raises:
        ValueError: points and centres have different numbers of features.
    """
    if points.ndim != 2 or points.shape[1] != centres.shape[1]:
        raise ValueError(
            f"features of shapes {points.shape} and {centres.shape} cannot be compared; "
            "use the same extractor for both"
        )
    return np.concatenate([(d <= radii).any(axis=1) for _, d in _blocks(points, centres)])


def _blocks(points: np.ndarray, centres: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and (rows, M) squared distances of one block of points after another."""
    points = np.asarray(points, dtype=np.float32)
    centres = np.asarray(centres, dtype=np.float32)
    lengths = (centres**2).sum(axis=1)
    for start in range(0, len(points), BLOCK_ROWS):
        block = points[start : start + BLOCK_ROWS]
        distances = (block**2).sum(axis=1)[:, None] - 2 * block @ centres.T + lengths
        yield start, distances.clip(min=0)
