"""features whose scores are known in closed form -> those scores."""

import numpy as np
import pytest

from adm.metrics import (
    Statistics,
    frechet_distance,
    inception_score,
    neighbour_distances,
    precision_recall,
)

RANDOM = np.random.default_rng(0)


def normal(mean, deviation):
    return Statistics(np.asarray(mean, np.float32), np.diag(np.square(deviation).astype(float)))


def test_distance_of_independent_normals():
    # Where covariances commute it is |m - m'|^2 + |s - s'|^2.
    actual = frechet_distance(normal([1, 2, 0], [1, 2, 0]), normal([1, 0, 0], [3, 2, 0.5]))
    assert actual == pytest.approx(4 + 4 + 0.25)


def test_inception_score_counts_certain_classes():
    # Certain and evenly spread: one bit of the score a class, in spite of the exact zeros.
    assert inception_score(np.tile(np.eye(7), (3, 1))) == pytest.approx(7)
    assert inception_score(np.full((5, 4), 0.25)) == pytest.approx(1)


def test_every_split_counts_the_same():
    certain, vague = np.eye(4), np.full((2, 4), 0.25)
    assert inception_score(np.concatenate([certain, vague]), 4) == pytest.approx((4 + 1) / 2)


def test_logits_are_no_probabilities():
    for wrong in (np.array([[2.0, -1.0]]), np.array([[0.5, np.nan]])):
        with pytest.raises(ValueError, match="not logits"):
            inception_score(wrong)
    with pytest.raises(ValueError, match="N >= 1"):
        inception_score(np.zeros((0, 10)))


def test_a_few_modes_are_precise_and_incomplete():
    real = np.concatenate([RANDOM.normal(0, 1, (60, 2)), RANDOM.normal(50, 1, (60, 2))])
    fake = RANDOM.normal(0, 0.5, (60, 2))
    precision, recall = precision_recall(real, fake)
    assert precision > 0.9
    assert recall <= 0.5


def test_radius_skips_the_point_itself_and_not_its_twin():
    line = np.array([[0.0], [0.0], [1.0], [3.0]])
    assert neighbour_distances(line, 3).T.tolist() == [[0, 0, 1, 4], [1, 1, 1, 9], [9, 9, 4, 9]]
