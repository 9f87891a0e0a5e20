"""FeatureSet, Clustering -> ClusterSearch: clusters by K-means, and their agreement with labels.

MiniBatchKMeans (Sculley 2010) of standardised features. Of several numbers of clusters, the one
with the largest mean silhouette is chosen (Rousseeuw 1987): (b - a) / max(a, b) of an image, where
a is its mean distance to the other images of its cluster, and b that to those of the nearest other.

Letters in shapes: N images, D features, K clusters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from adm.app.scoring.extraction import FeatureSet
from adm.extras import installing
from adm.limits import MOST_CLASSES
from adm.shown import count_of
from adm.spec import SettingError

STARTS = 3  # of which the one with the least inertia is taken
INITIAL = 3  # draws of the first centres of a start, by k-means++
BATCH, PER_CLUSTER = 1024, 4  # images of a step of K-means; at least so many for each cluster
ROWS = 4096  # images whose distances are computed together
RESOLVED = 1e-5  # features that vary by less, relative to their mean, are constant but for rounding
SUBSET = 5000  # images whose silhouettes are computed, against each other
IMAGES_EACH = 20  # images of a cluster on average, of the largest K that is tried
FEWEST = 10  # the smallest K that is tried

Advance: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How images are clustered.

    Attributes:
        clusters: K, at least 2; None for the number with the largest silhouette.
        seed: random seed of K-means, in 0..2^63 - 1.

    Raises:
        SettingError: a value is out of range.
    """

    clusters: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters is not None and not 2 <= self.clusters <= MOST_CLASSES:
            raise SettingError("clusters", f"from 2 to {MOST_CLASSES}", self.clusters)
        if not 0 <= self.seed < 2**63:
            raise SettingError("seed", "in 0..2^63 - 1", self.seed)

    def fits(self, images: int) -> int:
        """Return the number of fits of K-means for so many images.

        Raises:
            SettingError: there are more clusters than images.
            ValueError: there are too few images to choose a number of clusters.
        """
        if self.clusters is None:
            return STARTS * len(candidates(images))
        if self.clusters > images:
            raise SettingError(
                "clusters", f"from 2 to {images}, the number of images", self.clusters
            )
        return STARTS


@dataclass(frozen=True)
class Tried:
    """A number of clusters that was tried.

    Attributes:
        clusters: K.
        silhouette: mean silhouette, in [-1, 1]; more is better.
        smallest: images of the smallest cluster.
    """

    clusters: int
    silhouette: float
    smallest: int


@dataclass(frozen=True)
class Agreement:
    """How far clusters agree with labels, which the search did not use.

    Attributes:
        common: the most common label of each cluster.
        shares: the share of the images of each cluster that have this label, its purity.
        purity: the share of all images that have the most common label of their cluster.
        information: normalised mutual information, in [0, 1]: 1 if clusters and labels determine
            each other, and about 0 if they are independent.
    """

    common: tuple[int, ...]
    shares: tuple[float, ...]
    purity: float
    information: float

    def __str__(self) -> str:
        return f"purity {self.purity:.3f}, normalised mutual information {self.information:.3f}"


@dataclass(frozen=True, eq=False)
class ImagePoints:
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


@dataclass(frozen=True, eq=False)
class Clusters:
    """K clusters by size, the largest first.

    Attributes:
        points: the clustered points.
        ids: (N,) int64, the cluster of each point.
        centres: (K, D) float64.
    """

    points: ImagePoints
    ids: np.ndarray
    centres: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(K,) int64, number of images of each cluster."""
        return np.bincount(self.ids, minlength=len(self.centres))

    @property
    def inertia(self) -> float:
        """Mean squared distance of the points to the centres of their clusters."""
        return float(self.distances().mean())

    @property
    def of_images(self) -> np.ndarray:
        """(N,) int64, the cluster of each image, in the order of the data."""
        ids = np.empty_like(self.ids)
        ids[self.points.order] = self.ids
        return ids

    def distances(self) -> np.ndarray:
        """(N,) float64, squared distance of each point to the centre of its cluster."""
        parts = []
        for start in range(0, len(self.points), ROWS):
            rows = slice(start, start + ROWS)
            away = self.points.values[rows] - self.centres[self.ids[rows]]
            parts.append((away**2).sum(axis=1))
        return np.concatenate(parts)

    def nearest(self, pool: np.ndarray) -> np.ndarray:
        """(M, D) features of other images -> (M,) int64, the cluster with the nearest centre."""
        squares, ids = (self.centres**2).sum(axis=1), []
        for start in range(0, len(pool), ROWS):
            rows = pool[start : start + ROWS].astype(np.float32)
            rows = ((rows - self.points.mean) * self.points.factor).astype(np.float64)
            ids.append((squares - 2 * rows @ self.centres.T).argmin(axis=1))
        return np.concatenate(ids)


class ClusterSearch(NamedTuple):
    """The clusters of images that a search found.

    Attributes:
        clusters: the largest first.
        tried: the numbers of clusters that were compared; empty if the number was given.
        agreement: with the labels of the data; None if all images are of one class.
    """

    clusters: Clusters
    tried: tuple[Tried, ...]
    agreement: Agreement | None


def find_clusters(
    images: FeatureSet, clustering: Clustering, advance: Advance = lambda amount: None
) -> ClusterSearch:
    """Find the clusters of images in their features.

    They do not depend on the labels of the images, on their names or on their order.

    Args:
        images: at least as many as `clustering.fits` needs.
        advance: called with 1 after each fit of K-means.
    """
    points = points_of(images.pool, images.hashes, images.name)
    if clustering.clusters is None:
        clusters, tried = choose_clusters(points, clustering.seed, advance)
    else:
        clusters, tried = fit_clusters(points, clustering.clusters, clustering.seed, advance), ()
    agreement = None if images.labels is None else agreement_with(clusters.of_images, images.labels)
    return ClusterSearch(clusters, tried, agreement)


def points_of(pool: np.ndarray, hashes: np.ndarray, name: str) -> ImagePoints:
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
    return ImagePoints(values, order, mean.astype(np.float32), factor)


def fit_clusters(
    points: ImagePoints,
    count: int,
    seed: int,
    advance: Advance = lambda amount: None,
) -> Clusters:
    """Find K = `count` clusters by the start of several that has the least inertia.

    Args:
        count: in 2..N.
        seed: random seed of the starts.
        advance: called with 1 after each start.

    Raises:
        ValueError: scikit-learn is not installed.
        SettingError: a cluster has no images, as when fewer than K images differ.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ValueError(
            f"clusters need scikit-learn, which is not installed; {installing('sklearn')}"
        ) from None
    fitted = []
    for start in range(STARTS):
        state = int(np.random.default_rng([seed, start]).integers(1 << 31))
        batch = max(BATCH, PER_CLUSTER * count)
        settings: dict[str, Any] = {"n_init": INITIAL, "batch_size": batch, "random_state": state}
        with threadpool_limits(1):  # the order of sums depends on the number of threads
            kmeans = MiniBatchKMeans(count, **settings).fit(points.values)
            ids = kmeans.predict(points.values)
        fitted.append(
            _by_size(points, np.asarray(ids, np.int64), np.asarray(kmeans.cluster_centers_))
        )
        advance(1)
    best = min(fitted, key=lambda clusters: clusters.inertia)
    full = int((best.sizes > 0).sum())
    if full < count:
        raise SettingError(
            "clusters",
            f"at most {full}, since too few images differ in these features",
            count,
            f"give {{clusters={max(full, 2)}}}, or choose other features",
        )
    return best


def _by_size(points: ImagePoints, ids: np.ndarray, centres: np.ndarray) -> Clusters:
    """Number the clusters by size; of equal ones, the one of the earlier point is first."""
    sizes = np.bincount(ids, minlength=len(centres))
    first = np.full(len(centres), len(ids))
    np.minimum.at(first, ids, np.arange(len(ids)))
    ranked = np.lexsort((first, -sizes))
    places = np.empty_like(ranked)
    places[ranked] = np.arange(len(ranked))
    return Clusters(points, places[ids], np.asarray(centres)[ranked].astype(np.float64))


def choose_clusters(
    points: ImagePoints, seed: int, advance: Advance = lambda amount: None
) -> tuple[Clusters, tuple[Tried, ...]]:
    """Try all `candidates`, and take the number with the largest silhouette; of equal ones, fewer.

    Returns:
        The clusters of that number, and all that were tried.

    Raises:
        ValueError: too few images, or those of `fit_clusters`.
    """
    best, tried = None, list[Tried]()
    for count in candidates(len(points)):
        clusters = fit_clusters(points, count, seed, advance)
        score = silhouette(clusters)
        if best is None or score > max(each.silhouette for each in tried):
            best = clusters
        tried.append(Tried(count, score, int(clusters.sizes.min())))
    assert best is not None
    return best, tuple(tried)


def candidates(images: int) -> list[int]:
    """Return 10, 20, 50, 100, ... while there are at least 20 images for each cluster.

    Raises:
        ValueError: there are fewer than 200 images.
    """
    series = (factor * 10**power for power in range(1, 10) for factor in (1, 2, 5))
    numbers = [k for k in series if k * IMAGES_EACH <= images and k <= MOST_CLASSES]
    if not numbers:
        raise ValueError(
            f"{images} images are too few to choose the number of clusters, which needs "
            f"{FEWEST * IMAGES_EACH}; give the number itself, 2 or more"
        )
    return numbers


def silhouette(clusters: Clusters) -> float:
    """Return the mean silhouette of the first 5,000 points; 0 if they are all of one cluster.

    Their order is that of hashes, so that they are a random subset that is always the same.
    """
    from sklearn.metrics import silhouette_score  # an extra
    from threadpoolctl import threadpool_limits

    ids, values = clusters.ids[:SUBSET], clusters.points.values[:SUBSET]
    if len(set(ids.tolist())) in (1, len(ids)):
        return 0.0
    with threadpool_limits(1):
        return float(silhouette_score(values, ids))


def agreement_with(ids: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare clusters with labels.

    Args:
        ids: (N,) int64, clusters 0..K - 1, each with images.
        labels: (N,) int64.
    """
    from sklearn.metrics import normalized_mutual_info_score  # an extra

    counts = np.zeros((ids.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (ids, labels), 1)
    most = counts.max(axis=1)
    return Agreement(
        tuple(counts.argmax(axis=1).tolist()),
        tuple((most / counts.sum(axis=1)).tolist()),
        float(most.sum() / len(ids)),
        float(normalized_mutual_info_score(labels, ids)),
    )
