"""Clusters of a mixture of far normals are its components, whatever the order and the batch."""

import numpy as np
import pytest
from scoring.stubs import blocks, select, spots

from adm.data.lists import parse_list
from adm.data.naming import natural
from adm.scoring import Extraction, FeatureSet, extract
from adm.scoring.clusters import (
    Clusters,
    find_clusters,
    numbers_of_clusters,
    to_csv,
)


def far(components: int = 8, count: int = 400, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) around `components` means, 20 deviations apart on average; their means."""
    random = np.random.default_rng(0)
    means = random.normal(size=(components, dim)) * 20
    weights = np.linspace(2, 1, components)
    component = random.choice(components, count, p=weights / weights.sum())
    return (means[component] + random.normal(size=(count, dim))).astype(np.float32), component


def features(pool: np.ndarray, name: str = "means", order: np.ndarray | None = None) -> FeatureSet:
    """A set of images with these features, whose hashes are random."""
    hashes = np.random.default_rng(1).integers(0, 256, (len(pool), 32)).astype(np.uint8)
    rows = np.arange(len(pool)) if order is None else order
    none = {"spatial": None, "logits": None, "labels": None, "classes": ("all",)}
    kinds = {"name": name, "fingerprint": "", "source": "images", "size": (8, 8), "channels": 1}
    return FeatureSet(pool=pool[rows], hashes=hashes[rows], **none, **kinds)


def rand_index(one: np.ndarray, other: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def test_far_components_are_found_exactly_and_numbered_by_size() -> None:
    pool, component = far()
    clusters = find_clusters(features(pool), 8)
    assert rand_index(clusters.ids, component) == 1
    assert clusters.sizes == sorted(np.bincount(component).tolist(), reverse=True)
    within = pool - np.stack([pool[component == k].mean(axis=0) for k in component])
    mean = (clusters.distances**2).mean()
    assert mean == pytest.approx((within / pool.std(axis=0)).var(axis=0).sum(), rel=0.05)


def test_the_order_of_images_and_the_units_of_features_change_nothing() -> None:
    pool, _ = far(components=5, count=200)
    pool += np.random.default_rng(4).normal(size=pool.shape).astype(np.float32) * 8  # overlap
    shuffled = np.random.default_rng(2).permutation(len(pool))
    one = find_clusters(features(pool), 7, seed=3).ids
    other = find_clusters(features(pool, order=shuffled), 7, seed=3).ids
    scaled = find_clusters(features(pool * np.float32(4) + np.float32(64)), 7, seed=3).ids
    assert np.array_equal(one[shuffled], other)
    assert rand_index(one, scaled) > 0.95  # rounding


def test_clusters_without_images_are_refused_with_the_largest_number_that_has_some() -> None:
    pool = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    assert find_clusters(features(pool), 4).sizes == [10, 10, 10, 10]
    with pytest.raises(ValueError, match=r"only 4 of 6 clusters have images, .* give clusters=4"):
        find_clusters(features(pool), 6)


def test_the_number_of_components_has_the_largest_silhouette() -> None:
    pool, component = far(components=20, count=1000, dim=16)
    chosen = find_clusters(features(pool))
    assert list(chosen.tried) == [10, 20, 50]
    assert len(chosen.sizes) == 20 == max(chosen.tried, key=chosen.tried.__getitem__)
    assert rand_index(chosen.ids, component) == 1


@pytest.mark.parametrize(
    ("images", "numbers"),
    [(200, [10]), (399, [10]), (400, [10, 20]), (60_000, [10, 20, 50, 100, 200, 500, 1000, 2000])],
)
def test_numbers_that_are_tried_have_twenty_images_a_cluster(
    images: int, numbers: list[int]
) -> None:
    assert numbers_of_clusters(images, None) == numbers


def test_too_few_images_to_choose_or_to_cluster_are_refused() -> None:
    with pytest.raises(ValueError, match=r"199 images are too few to choose .* needs 200; give"):
        numbers_of_clusters(199, None)
    with pytest.raises(ValueError, match="from 2 to 30, the number of images, got 31"):
        numbers_of_clusters(30, 31)
    assert numbers_of_clusters(30, 30) == [30]


def test_clusters_do_not_depend_on_the_batch_or_the_order() -> None:
    source = spots(60)
    shuffled = np.random.default_rng(0).permutation(60)
    results = [
        find_clusters(extract(images, blocks(), Extraction(batch_size=size)), 4).ids
        for images, size in (
            (source, 64),
            (source, 7),
            (select(source, shuffled), 64),
        )
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][shuffled], results[2])


@pytest.mark.parametrize(
    ("count", "last_name"), [(2, "cluster-01"), (100, "cluster-99"), (101, "cluster-100")]
)
def test_names_are_in_natural_order(count: int, last_name: str) -> None:
    names = Clusters(np.arange(count), np.zeros(count), {}).names
    assert names[-1] == last_name
    assert list(names) == sorted(names, key=natural) == sorted(names)


def test_a_list_is_read_as_it_was_written() -> None:
    names = ["a,b.png", 'quote".png', "train/17", "new\nline.png", "ä.png"]
    labels = ["cluster-00", "cluster-01", "b", "c", "d"]
    assert parse_list(to_csv(names, labels), "l.csv") == list(zip(names, labels, strict=True))
