"""FeatureSet, number, seed -> Clusters by K-means, and the list of labels to train with.

MiniBatchKMeans (Sculley 2010) of standardised features. Of several numbers of clusters, the one
with the largest mean silhouette is chosen (Rousseeuw 1987): (b - a) / max(a, b) of an image, where
a is its mean distance to the other images of its cluster, and b that to those of the nearest other.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adm.data import Source
from adm.data.lists import parse_list
from adm.extras import installing
from adm.limits import MOST_CLASSES
from adm.progress import progress
from adm.scoring.extraction import FeatureSet
from adm.shown import LONGEST_PATH, shown
from adm.spec import SettingError, out_of_range

STARTS = 3  # of which the one with the least inertia is taken
INITIAL = 3  # draws of the first centres of a start, by k-means++
BATCH, PER_CLUSTER = 1024, 4  # images of a step of K-means; at least so many for each cluster
SUBSET = 5000  # images whose silhouettes are computed, against each other
IMAGES_EACH = 20  # images of a cluster on average, of the largest number that is tried
FEWEST = 10  # the smallest number that is tried


@dataclass(frozen=True, eq=False)
class Clusters:
    """K clusters of N images by size, the largest first.

    Attributes:
        ids: (N,) int64, the cluster of each image.
        distances: (N,) of each image from the centre of its cluster.
        tried: number of clusters -> silhouette, of those that were compared; empty if the number
            was given.
    """

    ids: np.ndarray
    distances: np.ndarray
    tried: Mapping[int, float]

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


def find_clusters(images: FeatureSet, clusters: int | None = None, seed: int = 0) -> Clusters:
    """Find the clusters of images in their features.

    They do not depend on the labels of the images, on their names or on their order.

    Args:
        clusters: their number; None for the one with the largest silhouette, of equal ones fewer.
        seed: random seed of K-means.

    Raises:
        SettingError: no such number, or fewer images differ.
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.metrics import silhouette_score
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ValueError(
            f"clusters need scikit-learn, which is not installed; {installing('sklearn')}"
        ) from None
    order = np.lexsort(images.hashes.T[::-1])  # that of the images, whatever their places
    values = StandardScaler().fit_transform(np.asarray(images.pool[order], np.float32))
    numbers = numbers_of_clusters(len(values), clusters)
    fits, tried = dict[int, Any](), dict[int, float]()
    # The order of sums depends on the number of threads.
    with threadpool_limits(1), progress("clustering", STARTS * len(numbers), "starts") as advance:
        for count in numbers:
            for start in range(STARTS):
                settings: dict[str, Any] = {
                    "n_init": INITIAL,
                    "batch_size": max(BATCH, PER_CLUSTER * count),
                    "random_state": int(np.random.default_rng([seed, start]).integers(1 << 31)),
                }
                fit = MiniBatchKMeans(count, **settings).fit(values)
                if start == 0 or fit.inertia_ < fits[count].inertia_:
                    fits[count] = fit
                advance(1)
            found = len(np.unique(fits[count].labels_))
            if found < 2:
                raise ValueError("all images are alike in these features; choose other features")
            if found < count:
                raise SettingError(
                    "clusters",
                    f"only {found} of {count} clusters have images, as too few images differ in "
                    f"these features; give {{clusters={found}}}, or choose other features",
                )
            subset = fits[count].labels_[:SUBSET]  # a random one, as the order is that of hashes
            several = 1 < len(np.unique(subset)) < len(subset)
            tried[count] = silhouette_score(values[:SUBSET], subset) if several else 0.0
    best = fits[max(tried, key=lambda count: tried[count])]
    # By size; of equal ones, the one with the earlier image first.
    numbers, first, sizes = np.unique(best.labels_, return_index=True, return_counts=True)
    places = np.argsort(numbers[np.lexsort((first, -sizes))])
    ids, distances = np.empty(len(values), np.int64), np.empty(len(values))
    ids[order] = places[best.labels_]
    distances[order] = np.linalg.norm(values - best.cluster_centers_[best.labels_], axis=1)
    return Clusters(ids, distances, tried if clusters is None else {})


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
    names = list(map(source.name_in_list, range(len(source))))
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
