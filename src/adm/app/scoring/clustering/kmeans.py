"""Features, hashes of images -> Points; Points, K -> Clusters, by MiniBatchKMeans (Sculley 2010).

Letters in shapes: N images, D features, K clusters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adm.data.counting import count_of
from adm.extras import installing

STARTS = 3  # of which the one with the least inertia is taken
INITIAL = 3  # draws of the first centres of a start, by k-means++
BATCH, PER_CLUSTER = 1024, 4  # images of a step of K-means; at least so many for each cluster
ROWS = 4096  # images whose distances are computed together
RESOLVED = 1e-5  # features that vary by less, relative to their mean, are constant but for rounding
Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Points:
    """Standardised features of N different images, in an order that the images alone determine.

    Attributes:
        values: (N, D) float32: each feature has mean 0, and deviation 1 unless it is constant.
        order: (N,) int64, the index of the image of each row.
        mean, factor: (D,) float32: values are (features - mean) factor.
    """

    values: np.ndarray
    order: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def standardised(self, pool: np.ndarray) -> np.ndarray:
        """(M, D) float32, the features of other images as these are."""
        return (pool.astype(np.float32) - self.mean) * self.factor


@dataclass(frozen=True, eq=False)
class Clusters:
    """K clusters by size, the largest first.

    Attributes:
        ids: (N,) int64, the cluster of each row of the points.
        centres: (K, D) float64.
        inertia: mean squared distance of the points to the centres of their clusters.
    """

    ids: np.ndarray
    centres: np.ndarray
    inertia: float

    @property
    def sizes(self) -> np.ndarray:
        """(K,) int64, number of images of each cluster."""
        return np.bincount(self.ids, minlength=len(self.centres))

    def nearest(self, points: Points, pool: np.ndarray) -> np.ndarray:
        """(M,) int64, the cluster with the nearest centre, of other images.

        Args:
            points: that the clusters were found in.
            pool: (M, D) features of the other images.
        """
        squares, ids = (self.centres**2).sum(axis=1), []
        for start in range(0, len(pool), ROWS):
            rows = points.standardised(pool[start : start + ROWS]).astype(np.float64)
            ids.append((squares - 2 * rows @ self.centres.T).argmin(axis=1))
        return np.concatenate(ids)

    def distances(self, points: Points) -> np.ndarray:
        """(N,) float64, squared distance of each point to the centre of its cluster."""
        parts = []
        for start in range(0, len(points), ROWS):
            rows = slice(start, start + ROWS)
            away = points.values[rows] - self.centres[self.ids[rows]]
            parts.append((away**2).sum(axis=1))
        return np.concatenate(parts)


def points_of(pool: np.ndarray, hashes: np.ndarray, name: str) -> Points:
    """Standardise features, and sort the images by the hashes of their pixels.

    Args:
        pool: (N, D) features.
        hashes: (N, 32) uint8, of the pixels of each image.
        name: of the features, for the error.

    Raises:
        ValueError: all images have the same features.
    """
    order = np.lexsort(hashes.T[::-1])
    values = np.array(pool[order], np.float32)
    mean = values.mean(axis=0, dtype=np.float64)
    # One feature at a time, because float64 copies of all would take twice their memory.
    spread = np.array([values[:, d].std(dtype=np.float64) for d in range(values.shape[1])])
    varies = spread > RESOLVED * np.abs(mean)
    if not varies.any():
        raise ValueError(
            f"{name} gives all {count_of(len(pool), 'image')} the same features; choose features "
            "that tell them apart"
        )
    factor = np.where(varies, 1 / np.where(varies, spread, 1), 0).astype(np.float32)
    values -= mean.astype(np.float32)
    values *= factor
    return Points(values, order, mean.astype(np.float32), factor)


def fit(
    points: Points,
    count: int,
    seed: int,
    starts: int = STARTS,
    advance: Advance = lambda amount: None,
) -> Clusters:
    """Find clusters by the start of several that has the least inertia.

    Args:
        count: K, in 2..N.
        seed: random seed of the starts.
        starts: number of starts, at least 1.
        advance: called with 1 after each start.

    Raises:
        ValueError: scikit-learn is not installed, or a cluster has no images, as when fewer than K
            images differ.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ValueError(
            f"clusters need scikit-learn, which is not installed; {installing('digits')}"
        ) from None
    best = None
    for start in range(starts):
        state = int(np.random.default_rng([seed, start]).integers(1 << 31))
        batch = max(BATCH, PER_CLUSTER * count)
        how: dict[str, Any] = {"n_init": INITIAL, "batch_size": batch, "random_state": state}
        with threadpool_limits(1):  # the order of sums depends on the number of threads
            search = MiniBatchKMeans(count, **how).fit(points.values)
            ids = search.predict(points.values)
        found = _by_size(points, np.asarray(ids, np.int64), np.asarray(search.cluster_centers_))
        if best is None or found.inertia < best.inertia:
            best = found
        advance(1)
    assert best is not None
    full = int((best.sizes > 0).sum())
    if full < count:
        raise ValueError(
            f"only {full} of {count} clusters have images, because too few images differ in these "
            f"features; pass clusters={max(full, 2)}, or choose other features"
        )
    return best


def _by_size(points: Points, ids: np.ndarray, centres: np.ndarray) -> Clusters:
    """Number the clusters by size; of equal ones, the one of the earlier point is first."""
    sizes = np.bincount(ids, minlength=len(centres))
    first = np.full(len(centres), len(ids))
    np.minimum.at(first, ids, np.arange(len(ids)))
    ranked = np.lexsort((first, -sizes))
    places = np.empty_like(ranked)
    places[ranked] = np.arange(len(ranked))
    found = Clusters(places[ids], centres[ranked].astype(np.float64), 0.0)
    return Clusters(found.ids, found.centres, float(found.distances(points).mean()))
