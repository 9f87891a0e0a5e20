"""Images, features, number -> K-means clusters, as the list that adm train --labels reads.

    python examples/cluster.py photos --size 32 --features efficientnet-lite0 --clusters 20 \\
        --out clusters.csv --picture clusters.png

needs scikit-learn (pip install "scikit-learn>=1.4"). Clusters are cluster-00, cluster-01 and so on,
the largest first. They do not depend on labels, names or order of the images. Of several numbers of
clusters, the one with the largest mean silhouette is taken (Rousseeuw 1987).
"""

import argparse
import csv
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from adm.data import Source, open_source
from adm.features import open_features
from adm.pictures import Row, sheet
from adm.scoring import FeatureSet, extract

STARTS = 3  # of which the one with the least inertia is taken
BATCH, PER_CLUSTER = 1024, 4  # images of a step of K-means; at least so many for each cluster
SUBSET = 5000  # images whose silhouettes are computed, against each other
ACROSS = 8  # images of a cluster in the picture


class Clusters(NamedTuple):
    """K clusters of N images by size, the largest first.

    Attributes:
        ids: (N,) int64, the cluster of each image.
        distances: (N,) of each image from the centre of its cluster.
        tried: number of clusters -> silhouette.
    """

    ids: np.ndarray
    distances: np.ndarray
    tried: dict[int, float]

    @property
    def names(self) -> list[str]:
        """cluster-00, cluster-01 and so on, all of one length."""
        count = int(self.ids.max()) + 1
        digits = max(2, len(str(count - 1)))
        return [f"cluster-{number:0{digits}d}" for number in range(count)]


def find_clusters(images: FeatureSet, numbers: Sequence[int], seed: int = 0) -> Clusters:
    """Return the clusters of images in their features, of the best of these numbers of clusters.

    MiniBatchKMeans (Sculley 2010) of standardised features.

    Raises:
        ValueError: fewer images differ than there are clusters.
    """
    order = np.lexsort(images.hashes.T[::-1])  # that of the images, whatever their places
    values = StandardScaler().fit_transform(np.asarray(images.pool[order], np.float32))
    fits, tried = dict[int, MiniBatchKMeans](), dict[int, float]()
    for count in numbers:
        for start in range(STARTS):
            fit = MiniBatchKMeans(
                count,
                n_init=3,
                batch_size=max(BATCH, PER_CLUSTER * count),
                random_state=int(np.random.default_rng([seed, start]).integers(1 << 31)),
            )
            with threadpool_limits(1):  # the order of sums depends on the number of threads
                fit.fit(values)
            if start == 0 or fit.inertia_ < fits[count].inertia_:
                fits[count] = fit
        filled = len(np.unique(fits[count].labels_))
        if filled < count:
            raise ValueError(f"only {filled} of {count} clusters have images; give --clusters less")
        subset = fits[count].labels_[:SUBSET]  # a random one, as the order is that of hashes
        several = 1 < len(np.unique(subset)) < len(subset)
        tried[count] = float(silhouette_score(values[:SUBSET], subset)) if several else 0.0
    best = fits[max(tried, key=lambda count: tried[count])]
    # By size; of equal ones, the one with the earlier image first.
    labels, first, sizes = np.unique(best.labels_, return_index=True, return_counts=True)
    places = np.argsort(labels[np.lexsort((first, -sizes))])
    ids, distances = np.empty(len(values), np.int64), np.empty(len(values))
    ids[order] = places[best.labels_]
    distances[order] = np.linalg.norm(values - best.cluster_centers_[best.labels_], axis=1)
    return Clusters(ids, distances, tried)


def write_list(path: str, source: Source, clusters: Clusters) -> None:
    """Write rows file,label with headings."""
    names = clusters.names
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("file", "label"))
        rows.writerows((source.name_in_list(i), names[k]) for i, k in enumerate(clusters.ids))


def draw(path: str, source: Source, clusters: Clusters) -> None:
    """Draw a row for each cluster: the images that are nearest to its centre."""
    rows = list[Row]()
    for number, name in enumerate(clusters.names):
        members = np.flatnonzero(clusters.ids == number)
        near = members[np.argsort(clusters.distances[members], kind="stable")[:ACROSS]]
        rows.append(Row(f"{name}: {len(members):,}", list(source.batch(near.tolist())[0])))
    sheet(f"Clusters of {source.name}", [("nearest to the centre", ACROSS)], rows).save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", help="in any of the forms of adm train --data")
    parser.add_argument("--features", required=True, help="adm help features lists them")
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 20, 50], help="numbers")
    parser.add_argument("--size", type=int, help="of image files, which are resized and cropped")
    parser.add_argument("--split", default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="the list, a .csv file")
    parser.add_argument("--picture", help="a .png file")
    args = parser.parse_args()
    size = None if args.size is None else (args.size, args.size)
    source = open_source(args.data, split=args.split, size=size, labels="none")
    clusters = find_clusters(
        extract(source, open_features(args.features)), args.clusters, args.seed
    )
    for count, silhouette in clusters.tried.items():
        print(f"{count} clusters: silhouette {silhouette:.3f}")
    write_list(args.out, source, clusters)
    if args.picture:
        draw(args.picture, source, clusters)
