"""examples/cluster.py: clusters of far normals are its components, in a list that is read."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scoring.stubs import blocks, select, spots

from adm.data.lists import parse_list
from adm.data.naming import natural
from adm.data.registry import open_source
from adm.scoring import Extraction, FeatureSet, extract

EXAMPLE = Path(__file__).parents[2] / "examples/cluster.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = spec_from_file_location("cluster", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def far(components: int = 8, count: int = 400, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) around `components` means, 20 deviations apart on average; their means."""
    random = np.random.default_rng(0)
    means = random.normal(size=(components, dim)) * 20
    weights = np.linspace(2, 1, components)
    component = random.choice(components, count, p=weights / weights.sum())
    return (means[component] + random.normal(size=(count, dim))).astype(np.float32), component


def features(pool: np.ndarray, order: np.ndarray | None = None) -> FeatureSet:
    """A set of images with these features, whose hashes are random."""
    hashes = np.random.default_rng(1).integers(0, 256, (len(pool), 32)).astype(np.uint8)
    rows = np.arange(len(pool)) if order is None else order
    none = {"spatial": None, "logits": None, "labels": None, "classes": ("all",)}
    kinds = {"name": "means", "fingerprint": "", "source": "images", "size": (8, 8), "channels": 1}
    return FeatureSet(pool=pool[rows], hashes=hashes[rows], **none, **kinds)


def rand_index(one: np.ndarray, other: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def test_far_components_are_found_exactly_and_numbered_by_size(example: Any) -> None:
    pool, component = far()
    clusters = example.find_clusters(features(pool), [8])
    assert rand_index(clusters.ids, component) == 1
    sizes = np.bincount(component).tolist()
    assert np.bincount(clusters.ids).tolist() == sorted(sizes, reverse=True)
    within = pool - np.stack([pool[component == k].mean(axis=0) for k in component])
    mean = (clusters.distances**2).mean()
    assert mean == pytest.approx((within / pool.std(axis=0)).var(axis=0).sum(), rel=0.05)


def test_the_order_of_images_and_the_units_of_features_change_nothing(example: Any) -> None:
    pool, _ = far(components=5, count=200)
    pool += np.random.default_rng(4).normal(size=pool.shape).astype(np.float32) * 8  # overlap
    shuffled = np.random.default_rng(2).permutation(len(pool))
    one = example.find_clusters(features(pool), [7], seed=3).ids
    other = example.find_clusters(features(pool, shuffled), [7], seed=3).ids
    scaled = example.find_clusters(features(pool * np.float32(4) + np.float32(64)), [7], seed=3).ids
    assert np.array_equal(one[shuffled], other)
    assert rand_index(one, scaled) > 0.95  # rounding


def test_clusters_do_not_depend_on_the_batch(example: Any) -> None:
    source = spots(60)
    shuffled = np.random.default_rng(0).permutation(60)
    results = [
        example.find_clusters(extract(images, blocks(), Extraction(batch_size=size)), [4]).ids
        for images, size in ((source, 64), (source, 7), (select(source, shuffled), 64))
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][shuffled], results[2])


def test_the_number_of_components_has_the_largest_silhouette(example: Any) -> None:
    pool, component = far(components=20, count=1000, dim=16)
    clusters = example.find_clusters(features(pool), [10, 20, 50])
    assert max(clusters.tried, key=clusters.tried.__getitem__) == 20
    assert rand_index(clusters.ids, component) == 1


def test_clusters_without_images_are_refused(example: Any) -> None:
    pool = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    with pytest.raises(ValueError, match="only 4 of 6 clusters have images"):
        example.find_clusters(features(pool), [6])


@pytest.mark.parametrize(
    ("count", "last_name"), [(2, "cluster-01"), (100, "cluster-99"), (101, "cluster-100")]
)
def test_names_are_in_natural_order(example: Any, count: int, last_name: str) -> None:
    names = example.Clusters(np.arange(count), np.zeros(count), {}).names
    assert names[-1] == last_name
    assert list(names) == sorted(names, key=natural) == sorted(names)


def test_the_list_is_one_that_training_reads_and_every_cluster_is_drawn(
    example: Any, tmp_path: Path
) -> None:
    source = open_source("digits", labels="none")
    pool = source.batch(range(len(source)))[0].flatten(1).numpy()
    clusters = example.find_clusters(features(pool.astype(np.float32)), [10])
    file, picture = tmp_path / "list.csv", tmp_path / "clusters.png"
    example.write_list(str(file), source, clusters)
    example.draw(str(picture), source, clusters)
    listed = parse_list(file.read_bytes(), "list.csv")
    assert listed[0] == ("train/0", clusters.names[clusters.ids[0]])
    again = open_source("digits", labels=str(file))
    assert list(again.classes) == clusters.names
    assert torch.equal(again.labels, torch.from_numpy(clusters.ids))
    with Image.open(picture) as drawn:
        assert drawn.height > 10 * 56
