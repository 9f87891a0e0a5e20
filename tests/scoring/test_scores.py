"""features of two sets -> scores whose values are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scoring.stubs import blocks, select, spots

from adm.data.source import in_memory
from adm.metrics import (
    METRICS,
    frechet_distance,
    frechet_of_few,
    inception_score,
    kernel_distance,
    precision_recall,
    statistics,
)
from adm.metrics.accuracy import wilson
from adm.metrics.inception_score import probabilities_of
from adm.metrics.jackknife import GROUPS
from adm.scoring import FeatureSet, Reference, extract, make_reference, scores
from adm.scoring.report import LEAST, class_scores

COUNT = 300


def features_of(**options: int) -> FeatureSet:
    return extract(spots(**{"count": COUNT, **options}), blocks())


def reference(**options: int) -> Reference:
    return make_reference(spots(**{"count": COUNT, **options}), blocks())


@pytest.fixture(scope="module")
def real() -> Reference:
    return reference()


@pytest.fixture(scope="module")
def other() -> FeatureSet:
    return features_of(seed=1, shift=4)


def test_every_score_is_that_of_its_metric_and_in_its_interval(
    real: Reference, other: FeatureSet
) -> None:
    actual = scores(other, real)
    assert list(actual) == list(METRICS)
    assert actual["frechet"].value == frechet_distance(real.statistics, statistics(other.pool))
    spatial = statistics(other.spatial)
    assert actual["spatial_frechet"].value == pytest.approx(frechet_distance(real.spatial, spatial))
    p = np.exp(other.logits.astype(float))
    p /= p.sum(axis=1, keepdims=True)
    assert actual["inception_score"].value == pytest.approx(inception_score(p), rel=1e-6)
    assert (actual["precision"].value, actual["recall"].value) == precision_recall(
        real.pool, other.pool
    )
    assert actual["kernel_distance"].value == kernel_distance(real.pool, other.pool).value
    for key, score in scores(other, real).items():
        assert score.low <= score.value <= score.high > score.low, key


@pytest.mark.parametrize("key", METRICS)
def test_worse_samples_have_a_worse_score(real: Reference, key: str) -> None:
    good, bad = (
        scores(features_of(seed=1, **options), real, only=[key], resamples=2)[key].value
        for options in ({}, {"classes": 1, "shift": 9000})
    )
    assert (good < bad) == METRICS[key].lower_is_better
    assert good != bad


def test_a_set_against_itself() -> None:
    actual = scores(features_of(), reference())
    assert actual["frechet"].value == actual["spatial_frechet"].value == 0
    assert actual["precision"].value == actual["recall"].value == actual["coverage"].value == 1
    assert actual["density"].value == pytest.approx(1)
    assert actual["kernel_distance"].value < 0.01


def test_precision_has_the_interval_of_a_share_of_the_samples(
    real: Reference, other: FeatureSet
) -> None:
    precision = scores(other, real)["precision"]
    assert precision == wilson(round(precision.value * COUNT), COUNT)


def test_shares_of_all_and_of_none_are_not_certain(real: Reference) -> None:
    bound = wilson(0, COUNT).high
    same, apart = (
        scores(features_of(), reference()),
        scores(features_of(shift=9000, classes=1), real),
    )
    for key in ("precision", "recall", "coverage"):
        assert same[key].value == same[key].high == 1
        assert same[key].low < 1 - bound + 1e-9
        assert apart[key] == pytest.approx((0, 0, bound))
    assert apart["density"].value == 0
    assert math.isnan(apart["density"].low)  # the number of balls hit is unknown


@pytest.mark.parametrize("count", [2 * GROUPS - 1, 2 * GROUPS])
def test_recall_and_coverage_have_intervals_from_two_images_a_group_on(
    real: Reference, count: int
) -> None:
    actual = scores(extract(spots(count, seed=1), blocks()), real)
    for key in ("recall", "coverage"):
        assert math.isnan(actual[key].low) == (count < 2 * GROUPS), key
    assert not math.isnan(actual["precision"].low)


def test_an_extrapolation_has_a_wider_interval_on_both_sides(
    real: Reference, other: FeatureSet
) -> None:
    actual = scores(other, real)
    plain, extrapolated = actual["frechet"], actual["frechet_at_infinity"]
    below, above = extrapolated.value - extrapolated.low, extrapolated.high - extrapolated.value
    error = (above**2 - (plain.high - plain.value) ** 2) ** 0.5
    assert error > 0.01 * (plain.high - plain.value)
    assert below == pytest.approx(math.hypot(plain.value - plain.low, error))


def test_the_order_of_the_images_changes_nothing(real: Reference) -> None:
    source = spots(COUNT, seed=1)
    order = np.random.default_rng(0).permutation(COUNT)
    only = ("frechet", "spatial_frechet", "precision", "recall", "density", "coverage")
    ordered, shuffled = (
        scores(extract(each, blocks()), real, only=(*only, "inception_score"))
        for each in (source, select(source, order))
    )
    for key, score in ordered.items():
        assert shuffled[key].value == pytest.approx(score.value, rel=1e-6), key


def test_statistics_that_a_file_states_stand_for_the_images(real: Reference) -> None:
    restated = replace(features_of(seed=3), stored=(real.statistics, real.spatial))
    actual = scores(restated, real)
    assert actual["frechet"].value == actual["spatial_frechet"].value == 0
    assert math.isnan(actual["frechet"].low)
    assert "frechet_at_infinity" not in actual
    assert 0 < actual["precision"].value < 1  # of the images


def test_scores_that_cannot_be_computed_are_left_out(real: Reference, other: FeatureSet) -> None:
    bare = replace(real, pool=None, images=None, spatial=None)
    assert set(scores(other, bare)) == {"frechet", "frechet_at_infinity", "inception_score"}
    always = {"frechet", "spatial_frechet", "inception_score"}
    assert set(scores(extract(spots(3), blocks()), real)) == always
    few = set(scores(extract(spots(5), blocks()), real))
    assert few == {*always, "precision", "recall"}
    without = replace(other, logits=None, spatial=None)
    assert {"spatial_frechet", "inception_score"}.isdisjoint(scores(without, real))
    assert set(scores(other, real, only=["recall"])) == {"recall"}
    with pytest.raises(ValueError, match="no score 'fid'; choose from frechet"):
        scores(other, real, only=["fid"])


def test_probabilities_bear_any_logits() -> None:
    logits = np.array([[1000.0, 1000.0], [-1e4, 0.0]], np.float32)
    np.testing.assert_array_equal(probabilities_of(logits), [[0.5, 0.5], [0, 1]])


@pytest.mark.parametrize(("many", "few"), [(40, 12), (30, 200)])
def test_the_distance_of_few_is_the_distance(many: int, few: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(many, 24)), 1 + random.normal(size=(few, 24)) * 2
    expected = frechet_distance(statistics(x), statistics(y))
    assert frechet_of_few(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet_of_few(x, x) == pytest.approx(0, abs=1e-9)


def test_classes_are_matched_by_name(real: Reference, other: FeatureSet) -> None:
    images, labels = spots(COUNT, seed=1, shift=4).batch(range(COUNT))
    renamed = in_memory("s", ("moon", "star", "circle", "square"), images, (labels + 2) % 3 + 1)
    rows = class_scores(other, real)
    assert [row.name for row in rows] == ["circle", "square", "star"]
    assert all(row.generated == row.real == 100 for row in rows)
    by_name = {row.name: row for row in class_scores(extract(renamed, blocks()), real)}
    swapped = {"star": "circle", "circle": "square", "square": "star"}
    assert by_name.keys() == swapped.keys()  # the reference has no moon
    for row in rows:
        assert by_name[row.name].frechet > 20 * row.frechet
    same = frechet_of_few(real.pool[real.labels == 1], other.pool[other.labels == 1])
    assert rows[1].frechet == pytest.approx(same)


def test_a_class_with_few_images_has_counts_only(real: Reference) -> None:
    source = select(spots(COUNT), [0, 1, 2, *range(4, 4 + 3 * LEAST, 3)])
    rows = {row.name: row for row in class_scores(extract(source, blocks()), real)}
    assert (rows["star"].generated, rows["star"].frechet) == (1, None)
    assert rows["square"].generated == LEAST + 1
    assert rows["square"].recall is not None
