"""FeatureSet, number, seed -> Clusters by K-means, and the list of labels to train with.

MiniBatchKMeans (Sculley 2010) of standardised features. Of several numbers of clusters, the one
with the largest mean silhouette is chosen (Rousseeuw 1987): (b - a) / max(a, b) of an image, where
a is its mean distance to the other images of its cluster, and b that to those of the nearest other.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from adm.data import Source
from adm.data.lists import parse_list
from adm.extras import installing
from adm.limits import MOST_CLASSES
from adm.scoring.extraction import FeatureSet
from adm.shown import LONGEST_PATH, shown
from adm.spec import out_of_range

STARTS = 3  # of which the one with the least inertia is taken
INITIAL = 3  # draws of the first centres of a start, by k-means++
BATCH, PER_CLUSTER = 1024, 4  # images of a step of K-means; at least so many for each cluster
RESOLVED = 1e-5  # features that vary by less, relative to their mean, are constant but for rounding
SUBSET = 5000  # images whose silhouettes are computed, against each other
IMAGES_EACH = 20  # images of a cluster on average, of the largest number that is tried
FEWEST = 10  # the smallest number that is tried


class Agreement(NamedTuple):
    """How far clusters agree with labels, which the search did not use.

    Attributes:
        purity: the share of images that have the most common label of their cluster.
        information: normalised mutual information, in [0, 1]: 1 if clusters and labels determine
            each other, and about 0 if they are independent.
    """

    purity: float
    information: float

    def __str__(self) -> str:
        return f"purity {self.purity:.3f}, normalised mutual information {self.information:.3f}"


@dataclass(frozen=True, eq=False)
class Clusters:
    """K clusters of N images by size, the largest first.

    Attributes:
        ids: (N,) int64, the cluster of each image.
        distances: (N,) of each image from the centre of its cluster.
        tried: number of clusters -> silhouette, of those that were compared; empty if the number
            was given.
        nearest: (M, D) features of other images -> (M,) int64, the cluster with the nearest centre.
    """

    ids: np.ndarray
    distances: np.ndarray
    tried: Mapping[int, float]
    nearest: Callable[[np.ndarray], np.ndarray]

    @property
    def sizes(self) -> list[int]:
        """Number of images of each cluster."""
        return np.bincount(self.ids).tolist()

    @property
    def names(self) -> list[str]:
        """cluster-00, cluster-01 and so on, all of one length."""
        digits = max(2, len(str(len(self.sizes) - 1)))
        return [f"cluster-{number:0{digits}d}" for number in range(len(self.sizes))]


def numbers_of_clusters(images: int, clusters: int | None) -> list[int]:
    """Return the numbers to try: the given one, or 10, 20, 50, 100, ... with 20 images for each.

    Raises:
        SettingError: there are more clusters than images.
        ValueError: there are too few images to choose a number of clusters.
    """
    if clusters is not None:
        most = min(images, MOST_CLASSES)
        if not 2 <= clusters <= most:
            why = "" if most == MOST_CLASSES else ", the number of images"
            raise out_of_range("clusters", f"from 2 to {most}{why}", clusters)
        return [clusters]
    series = (factor * 10**power for power in range(1, 10) for factor in (1, 2, 5))
    numbers = [k for k in series if k * IMAGES_EACH <= images and k <= MOST_CLASSES]
    if not numbers:
        raise ValueError(
            f"{images} images are too few to choose the number of clusters, which needs "
            f"{FEWEST * IMAGES_EACH}; give the number itself, 2 or more"
        )
    return numbers


def find_clusters(
    images: FeatureSet,
    clusters: int | None = None,
    seed: int = 0,
    advance: Callable[[int], object] = lambda amount: None,
) -> Clusters:
    """Find the clusters of images in their features.

    They do not depend on the labels of the images, on their names or on their order.

    Args:
        clusters: their number; None for the one with the largest silhouette, of equal ones fewer.
        seed: random seed of K-means.
        advance: called with 1 after each start of K-means.

    Raises:
        SettingError: no such number, or fewer images differ.
        ValueError: all images have the same features, or scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.metrics import silhouette_score
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ValueError(
            f"clusters need scikit-learn, which is not installed; {installing('sklearn')}"
        ) from None
    order = np.lexsort(images.hashes.T[::-1])  # that of the images, whatever their places
    pool = np.asarray(images.pool[order], np.float32)
    standardise = standardisation(pool, images.name)
    values = standardise(pool)
    tried, best = dict[int, float](), None
    with threadpool_limits(1):  # the order of sums depends on the number of threads
        for count in numbers_of_clusters(len(values), clusters):
            fits = list[Any]()
            for start in range(STARTS):
                state = int(np.random.default_rng([seed, start]).integers(1 << 31))
                batch = max(BATCH, PER_CLUSTER * count)
                settings: dict[str, Any] = {"n_init": INITIAL, "random_state": state}
                kmeans = MiniBatchKMeans(count, batch_size=batch, **settings)
                fits.append(kmeans.fit(values))
                advance(1)
            fit = min(fits, key=lambda each: each.inertia_)
            found = len(set(fit.labels_.tolist()))
            if found < count:
                expected = f"at most {found}, since too few images differ in these features"
                cure = f"give {{clusters={max(found, 2)}}}, or choose other features"
                raise out_of_range("clusters", expected, count, cure)
            subset = fit.labels_[:SUBSET]  # a random one, as the order is that of hashes
            some = 1 < len(set(subset.tolist())) < len(subset)
            score = float(silhouette_score(values[:SUBSET], subset)) if some else 0.0
            if best is None or score > max(tried.values()):
                best = fit
            tried[count] = score
    assert best is not None
    # By size; of equal ones, the one with the earlier image first.
    numbers, first, sizes = np.unique(best.labels_, return_index=True, return_counts=True)
    ranked = numbers[np.lexsort((first, -sizes))]
    places = np.argsort(ranked)
    own = np.linalg.norm(values - best.cluster_centers_[best.labels_], axis=1)
    ids, distances = np.empty(len(values), np.int64), np.empty(len(values))
    ids[order], distances[order] = places[best.labels_], own

    def nearest(pool: np.ndarray) -> np.ndarray:
        return places[best.predict(standardise(pool))]

    return Clusters(ids, distances, tried if clusters is None else {}, nearest)


def standardisation(pool: np.ndarray, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that gives each feature mean 0 and deviation 1, and constant ones 0.

    Raises:
        ValueError: all features are constant.
    """
    mean = pool.mean(axis=0, dtype=np.float64)
    # One feature at a time, because float64 copies of all would take twice their memory.
    spread = np.array([pool[:, d].std(dtype=np.float64) for d in range(pool.shape[1])])
    varies = spread > RESOLVED * np.abs(mean)
    if not varies.any():
        raise ValueError(
            f"{name} gives all {len(pool)} images the same features; choose features that "
            "tell them apart"
        )
    factor = np.where(varies, 1 / np.where(varies, spread, 1), 0).astype(np.float32)
    return lambda rows: (rows.astype(np.float32) - mean.astype(np.float32)) * factor


def agreement_with(ids: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare clusters (N,) with labels (N,)."""
    from sklearn.metrics import normalized_mutual_info_score  # an extra
    from sklearn.metrics.cluster import contingency_matrix

    purity = float(contingency_matrix(labels, ids).max(axis=0).sum()) / len(ids)
    return Agreement(purity, float(normalized_mutual_info_score(labels, ids)))


def to_csv(names: Sequence[str], labels: Sequence[str]) -> bytes:
    """Return the content of a list of labels: rows file,label with headings."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "label"))
    rows.writerows(zip(names, labels, strict=True))
    return text.getvalue().encode()


def names_of(source: Source) -> list[str]:
    """Return the names in a list of the images of data that `registry.find` has opened.

    Raises:
        ValueError: a name cannot be written to a list.
    """
    names = list(map(source.listed, range(len(source))))
    for name in names:
        try:
            survives = parse_list(to_csv([name], ["any"]), "the list") == [(name, "any")]
        except ValueError:  # also of a name that is no Unicode
            survives = False
        if not survives:
            raise ValueError(
                f"{shown(name, LONGEST_PATH)} cannot be written to a list of labels; rename it, "
                "without control characters and without spaces at its ends"
            )
    return names
