"""Data, Features, Wanted -> a list of labels, its record, and a page of the clusters."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adm.app.scoring import FeatureSet
from adm.app.scoring.clustering import stored
from adm.app.scoring.clustering.agreement import Agreement, agreement
from adm.app.scoring.clustering.choose import Tried, candidates, choose
from adm.app.scoring.clustering.kmeans import STARTS, Advance, Clusters, Points, fit, points_of
from adm.app.scoring.clustering.listing import cluster_names, listed
from adm.app.scoring.clustering.stored import Record, Request
from adm.app.scoring.manifest import versions
from adm.data import Source
from adm.data.fingerprint import fingerprint
from adm.features import Features
from adm.limits import MOST_CLASSES
from adm.store.files import write_bytes
from adm.store.hashes import sha256_of


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How images are clustered.

    Attributes:
        clusters: their number, at least 2; None for the number with the largest silhouette.
        seed: random seed of K-means, in 0..2^63 - 1.
        starts: starts of K-means, of which the one with the least inertia is taken.

    Raises:
        ValueError: a value is out of range.
    """

    clusters: int | None
    seed: int = 0
    starts: int = STARTS

    def __post_init__(self) -> None:
        if self.clusters is not None and not 2 <= self.clusters <= MOST_CLASSES:
            raise ValueError(
                f"clusters must be from 2 to {MOST_CLASSES}, or auto, got {self.clusters}"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0..2^63 - 1, got {self.seed}")
        if not 1 <= self.starts <= 100:
            raise ValueError(f"starts must be from 1 to 100, got {self.starts}; {STARTS} is usual")

    def fits(self, images: int) -> int:
        """Return the number of fits of K-means that so many images take.

        Raises:
            ValueError: there are more clusters than images, or too few images to choose.
        """
        if self.clusters is None:
            return self.starts * len(candidates(images))
        if self.clusters > images:
            raise ValueError(
                f"clusters must be from 2 to {images}, the number of images, got {self.clusters}"
            )
        return self.starts


class Images(NamedTuple):
    """The images of a split.

    Attributes:
        names: by which a list of labels calls them.
        split: of the data, `train` or `test`.
    """

    source: Source
    names: Sequence[str]
    split: str

    @property
    def seen(self) -> list[object]:
        """What identifies the images and their names, as JSON values."""
        return [asdict(fingerprint(self.source)), list(self.names)]


class Found(NamedTuple):
    """Clusters of images.

    Attributes:
        clusters: whose ids are in the order of the points.
        points: the features that they were found in.
        ids: (N,) int64, the cluster of each image, in the order of the data.
        tried: the numbers of clusters that were compared; empty if the number was given.
        agreement: with the labels of the data; None if all images are of one class.
    """

    clusters: Clusters
    points: Points
    ids: np.ndarray
    tried: tuple[Tried, ...]
    agreement: Agreement | None


def request(
    images: Images, features: Features, wanted: Wanted, others: Images | None = None
) -> Request:
    """Return everything that the clusters will depend on, from a look at the images.

    Args:
        others: images that get the cluster with the nearest centre.

    Raises:
        ValueError: an image cannot be read.
    """
    source = images.source
    seen = images.seen + ([] if others is None else others.seen)
    return Request(
        data=source.name,
        split="test" if images.split == "test" else "train",
        images=len(source),
        assigned=0 if others is None else len(others.source),
        shape=source.shape,
        data_sha256=sha256_of(json.dumps(seen).encode()),
        features=features.name,
        fingerprint=features.fingerprint,
        clusters=wanted.clusters,
        seed=wanted.seed,
        starts=wanted.starts,
    )


def find_clusters(
    seen: FeatureSet, wanted: Wanted, advance: Advance = lambda amount: None
) -> Found:
    """Find the clusters of images in their features.

    They do not depend on the labels of the images, on their names or on their order.

    Args:
        advance: called with 1 after each fit of K-means.

    Raises:
        ValueError: those of `Wanted.fits`, `points_of` and `fit`.
    """
    wanted.fits(seen.count)
    points = points_of(seen.pool, seen.hashes, seen.name)
    if wanted.clusters is None:
        clusters, tried = choose(points, wanted.seed, wanted.starts, advance)
    else:
        clusters, tried = fit(points, wanted.clusters, wanted.seed, wanted.starts, advance), ()
    ids = np.empty_like(clusters.ids)
    ids[points.order] = clusters.ids
    agreed = None if seen.labels is None else agreement(ids, seen.labels)
    return Found(clusters, points, ids, tried, agreed)


def write(
    found: Found,
    names: Sequence[str],
    asked: Request,
    out: Path,
    others: tuple[Sequence[str], FeatureSet] | None = None,
) -> Record:
    """Write a list of labels, then its record, each atomically.

    Args:
        names: the names by which the list calls the images.
        out: the list, a .csv file; its record is beside it.
        others: names and features of images that get the cluster with the nearest centre.
    """
    sizes = found.clusters.sizes.tolist()
    kinds, ids = cluster_names(len(sizes)), found.ids.tolist()
    if others is not None:
        names = [*names, *others[0]]
        ids += found.clusters.nearest(found.points, others[1].pool).tolist()
    content = listed(names, [kinds[cluster] for cluster in ids])
    record = Record(
        **asdict(asked),
        sizes=tuple(sizes),
        inertia=found.clusters.inertia,
        tried=found.tried,
        list_sha256=sha256_of(content),
        versions=versions() | {"scikit-learn": version("scikit-learn")},
    )
    write_bytes(out, content)
    stored.save(record, out)
    return record
