"""Clusters of a mixture of far normals are its components, whatever the order and the batch."""

import numpy as np
import pytest
from evaluation.stubs import blocks, select, spots

from adm.app.scoring import Extraction, extract
from adm.app.scoring import clusters as library
from adm.app.scoring.cluster_list import cluster_names, to_csv
from adm.app.scoring.clusters import (
    STARTS,
    Clustering,
    ImagePoints,
    agreement_with,
    candidates,
    choose_clusters,
    find_clusters,
    fit_clusters,
    points_of,
    silhouette,
)
from adm.data.lists import csv_pairs
from adm.data.naming import natural


def far(components: int = 8, count: int = 400, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) around `components` means, 20 deviations apart on average; their means."""
    random = np.random.default_rng(0)
    means = random.normal(size=(components, dim)) * 20
    component = random.choice(components, count, p=_falling(components))
    return (means[component] + random.normal(size=(count, dim))).astype(np.float32), component


def _falling(components: int) -> np.ndarray:
    weights = np.linspace(2, 1, components)
    return weights / weights.sum()


def hashes(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32)).astype(np.uint8)


def rand_index(one: np.ndarray, other: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def points(pool: np.ndarray) -> ImagePoints:
    return points_of(pool, hashes(len(pool)), "means")


def test_far_components_are_found_exactly_and_numbered_by_size() -> None:
    pool, component = far()
    image_points = points(pool)
    clusters = fit_clusters(image_points, 8, seed=0)
    assert rand_index(clusters.ids, component[image_points.order]) == 1
    assert clusters.sizes.tolist() == sorted(np.bincount(component).tolist(), reverse=True)
    # The mean squared distance to 8 means of nearly all variance: the rest is that within.
    within = pool - np.stack([pool[component == k].mean(axis=0) for k in component])
    assert clusters.inertia == pytest.approx(
        (within / pool.std(axis=0)).var(axis=0).sum(), rel=0.05
    )


def test_other_images_get_the_cluster_of_the_nearest_centre() -> None:
    pool, component = far(count=600)
    image_points = points(pool[:400])
    clusters = fit_clusters(image_points, 8, seed=0)
    ids = np.empty_like(clusters.ids)
    ids[image_points.order] = clusters.ids
    assert np.array_equal(clusters.nearest(pool[:400]), ids)
    both = np.concatenate([ids, clusters.nearest(pool[400:])])
    assert rand_index(both, component) == 1


def test_the_order_of_images_and_the_units_of_features_change_nothing() -> None:
    pool, _ = far(components=5, count=200)
    pool += np.random.default_rng(4).normal(size=pool.shape).astype(np.float32) * 8  # overlap
    names, shuffled = hashes(len(pool)), np.random.default_rng(2).permutation(len(pool))
    one, other = points_of(pool, names, ""), points_of(pool[shuffled], names[shuffled], "")
    scaled = points_of(pool * np.float32(4) + np.float32(64), names, "")
    ids = [fit_clusters(each, 7, seed=3).ids for each in (one, other, scaled)]
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(shuffled[other.order], one.order)
    assert np.array_equal(ids[0], ids[1])
    assert rand_index(ids[0], ids[2]) > 0.95  # rounding


def test_features_that_only_rounding_varies_count_as_constant() -> None:
    pool, component = far(components=3, count=100)
    random = np.random.default_rng(5)
    rounded = 1000 * (1 + 1e-7 * random.normal(size=(100, 5))).astype(np.float32)
    image_points = points(np.concatenate([pool, rounded], axis=1))
    assert np.array_equal(image_points.values[:, 6:], np.zeros((100, 5)))
    assert rand_index(fit_clusters(image_points, 3, seed=0).ids, component[image_points.order]) == 1
    with pytest.raises(ValueError, match="blank gives all 100 images the same features; choose"):
        points_of(rounded, hashes(100), "blank")


def test_clusters_without_images_are_refused_with_the_largest_number_that_has_some() -> None:
    pool = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    assert sorted(fit_clusters(points(pool), 4, seed=0).sizes.tolist()) == [10, 10, 10, 10]
    with pytest.raises(ValueError, match=r"clusters must be at most 4, .* got 6; give clusters=4"):
        fit_clusters(points(pool), 6, seed=0)


def test_the_number_of_components_has_the_largest_silhouette(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, component = far(components=20, count=1000, dim=16)
    image_points, steps = points(pool), []
    chosen, tried = choose_clusters(image_points, seed=0, advance=steps.append)
    assert [each.clusters for each in tried] == [10, 20, 50]
    assert len(chosen.sizes) == 20
    assert len(steps) == STARTS * 3
    assert rand_index(chosen.ids, component[image_points.order]) == 1
    monkeypatch.setattr(library, "SUBSET", 500)
    assert silhouette(chosen) == pytest.approx(tried[1].silhouette, abs=0.02)


@pytest.mark.parametrize(
    ("images", "numbers"),
    [(200, [10]), (399, [10]), (400, [10, 20]), (60_000, [10, 20, 50, 100, 200, 500, 1000, 2000])],
)
def test_candidates_have_twenty_images_a_cluster(images: int, numbers: list[int]) -> None:
    assert candidates(images) == numbers


def test_too_few_images_to_choose_or_to_cluster_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"199 images are too few to choose .* needs 200; give the"
    ):
        candidates(199)
    with pytest.raises(
        ValueError, match="clusters must be from 2 to 30, the number of images, got 31"
    ):
        Clustering(clusters=31).fits(30)
    assert Clustering(clusters=30).fits(30) == Clustering(clusters=2).fits(30) == STARTS


def test_clusters_do_not_depend_on_the_batch_the_order_or_the_labels() -> None:
    source = spots(60)
    shuffled = np.random.default_rng(0).permutation(60)
    results = [
        find_clusters(
            extract(images, blocks(), Extraction(batch_size=size)), Clustering(clusters=4)
        )
        for images, size in (
            (source, 64),
            (source, 7),
            (select(source, shuffled), 64),
            (spots(60, classes=1), 64),
        )
    ]
    assert np.array_equal(results[0].clusters.of_images, results[1].clusters.of_images)
    assert np.array_equal(results[0].clusters.of_images[shuffled], results[2].clusters.of_images)
    assert results[3].agreement is None


def test_agreement_is_1_for_equal_and_known_for_mixed_clusters() -> None:
    labels = np.repeat([0, 1, 2], [6, 4, 2])
    same = agreement_with(np.repeat([2, 0, 1], [6, 4, 2]), labels)
    assert (same.common, same.shares, same.purity) == ((1, 2, 0), (1, 1, 1), 1)
    assert same.information == pytest.approx(1)
    halves = agreement_with(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 0]))
    assert (halves.common, halves.purity) == ((0, 1), pytest.approx(4 / 6))
    independent = agreement_with(np.arange(12) % 2, np.arange(12) // 2 % 3)
    assert independent.information == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "last_name"), [(2, "cluster-01"), (100, "cluster-99"), (101, "cluster-100")]
)
def test_names_are_in_natural_order(count: int, last_name: str) -> None:
    names = cluster_names(count)
    assert names[-1] == last_name
    assert list(names) == sorted(names, key=natural) == sorted(names)


def test_a_list_is_read_as_it_was_written() -> None:
    names = ["a,b.png", 'quote".png', "train/17", "new\nline.png", "ä.png"]
    content = to_csv(names, cluster_names(5))
    assert csv_pairs(content, "l.csv", ",") == list(zip(names, cluster_names(5), strict=True))
