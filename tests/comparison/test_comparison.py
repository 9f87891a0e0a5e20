"""sets of images with classes -> how far two images of a class are apart, in each set."""

import math

import numpy as np
import pytest
import torch
from scoring.stubs import blocks

from adm.app.study.comparison import MOST, compare, shared_classes, within_class
from adm.data.source import Source, in_memory
from adm.scoring import extract


def normals(count: int, seed: int, width: int = 4, spread: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (spread * random.normal(size=(count, width))).astype(np.float32)


def test_the_distance_is_the_mean_over_all_pairs() -> None:
    features = normals(9, 0)
    pairs = [math.dist(features[i], features[j]) for i in range(9) for j in range(i)]
    assert within_class(features).value == pytest.approx(np.mean(pairs), rel=1e-6)


def test_equal_images_have_no_distance_and_one_image_an_unknown_one() -> None:
    alike = within_class(np.ones((5, 3), np.float32))
    assert alike == (0, 0, 0)
    assert math.isnan(within_class(np.ones((1, 3), np.float32)).value)


def test_intervals_hold_the_value_of_many_images_as_often_as_they_say() -> None:
    """The expected distance of two standard normal vectors of width D is 2 G((D+1)/2) / G(D/2)."""
    truth = 2 * math.gamma(2.5) / math.gamma(2)
    scores = [within_class(normals(60, seed)) for seed in range(400)]
    covered = np.mean([score.low <= truth <= score.high for score in scores])
    assert 0.91 < covered < 0.98


def test_only_the_first_images_of_a_large_class_are_used() -> None:
    some = normals(MOST, 0)
    assert within_class(np.concatenate([some, 100 + some])) == within_class(some)


def source(name: str, classes: tuple[str, ...], seed: int) -> Source:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return in_memory(name, classes, images, torch.arange(30) % len(classes))


def test_classes_are_matched_by_name_without_case_and_compared_one_by_one() -> None:
    one, other = source("a", ("bag", "Hat", "shoe"), 0), source("b", ("coat", "hat", "Bag"), 1)
    names = shared_classes([one, other])
    assert names == ["bag", "Hat"]
    features = blocks()
    extracted = [extract(each, features) for each in (one, other)]
    comparison = compare([one, other], extracted, names)
    assert comparison.sources == ["a", "b"]
    bag, hat = comparison.classes
    assert bag.indices == [list(range(0, 30, 3)), list(range(2, 30, 3))]
    assert hat.indices == [list(range(1, 30, 3)), list(range(1, 30, 3))]
    assert bag.distances[1] == within_class(np.asarray(extracted[1].pool)[2::3])
    mean = comparison.mean()
    assert mean[0].value == pytest.approx((bag.distances[0].value + hat.distances[0].value) / 2)
    assert mean[0].low < mean[0].value < mean[0].high
    record = comparison.to_json()["within_class_distance"]["bag"]["b"]
    assert (record["images"], record["value"]) == (10, bag.distances[1].value)


def test_classes_that_are_not_shared_are_refused_with_those_that_are() -> None:
    one, other = source("a", ("bag", "hat"), 0), source("b", ("hat", "coat"), 1)
    with pytest.raises(ValueError, match=r"no class 'bag' is in all of the images; those are hat"):
        shared_classes([one, other], ["bag"])
    with pytest.raises(ValueError, match="no class is in all of the images: a has bag, hat; c has"):
        shared_classes([one, source("c", ("coat",), 2)])
