"""Points -> Clusters of several numbers K, their silhouettes, and the K that is chosen.

The silhouette of an image (Rousseeuw 1987) is (b - a) / max(a, b), where a is its mean distance to
the other images of its cluster, and b that to the images of the nearest other cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from adm.app.scoring.clustering.kmeans import STARTS, Advance, Clusters, Points, fit
from adm.limits import MOST_CLASSES

SUBSET = 5000  # images whose silhouettes are computed, against each other
IMAGES_EACH = 20  # images of a cluster on average, of the largest K that is tried
FEWEST = 10  # the smallest K that is tried


@dataclass(frozen=True)
class Tried:
    """A number of clusters that was tried.

    Attributes:
        clusters: K.
        silhouette: mean silhouette, in [-1, 1]; more is better.
        smallest: images of the smallest cluster.
    """

    clusters: Annotated[int, Field(ge=2, le=MOST_CLASSES)]
    silhouette: Annotated[float, Field(ge=-1, le=1)]
    smallest: Annotated[int, Field(ge=1)]


class Choice(NamedTuple):
    """The clusters of the number with the largest silhouette, and all that were tried."""

    clusters: Clusters
    tried: tuple[Tried, ...]


def candidates(images: int) -> list[int]:
    """Return 10, 20, 50, 100, ... while there are at least 20 images for each cluster.

    Raises:
        ValueError: there are fewer than 200 images.
    """
    found = [k for k in _steps() if k * IMAGES_EACH <= images]
    if not found:
        raise ValueError(
            f"{images} images are too few to choose the number of clusters, which needs "
            f"{FEWEST * IMAGES_EACH}; give the number itself: pass clusters=2 or more"
        )
    return found


def choose(
    points: Points, seed: int, starts: int = STARTS, advance: Advance = lambda amount: None
) -> Choice:
    """Try all `candidates`, and take the number with the largest silhouette; of equal ones, fewer.

    The silhouette is that of the first 5,000 points, whose order is that of hashes: a random subset
    that is always the same.

    Raises:
        ValueError: too few images, or those of `fit`.
    """
    best, tried = None, list[Tried]()
    for count in candidates(len(points)):
        found = fit(points, count, seed, starts, advance)
        score = silhouette(points, found)
        if best is None or score > max(each.silhouette for each in tried):
            best = found
        tried.append(Tried(count, score, int(found.sizes.min())))
    assert best is not None
    return Choice(best, tuple(tried))


def silhouette(points: Points, clusters: Clusters) -> float:
    """Return the mean silhouette of the first 5,000 points; 0 if they are all of one cluster."""
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    ids, values = clusters.ids[:SUBSET], points.values[:SUBSET]
    if len(set(ids.tolist())) in (1, len(ids)):
        return 0.0
    with threadpool_limits(1):
        return float(silhouette_score(values, ids))


def _steps() -> Iterator[int]:
    """Yield 10, 20, 50, 100, 200, 500 and so on, up to the most classes that data can have."""
    power = FEWEST
    while power <= MOST_CLASSES:
        yield from (factor * power for factor in (1, 2, 5) if factor * power <= MOST_CLASSES)
        power *= 10
