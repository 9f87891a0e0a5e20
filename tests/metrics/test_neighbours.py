"""points -> their exact neighbours, whatever the block and the order."""

import numpy as np
import pytest

from adm.metrics import neighbours
from adm.metrics.neighbours import exact_distances, nearest, nearest_others, pairs_within

RANDOM = np.random.default_rng(0)


def clouds(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of (N, 40) float32 that are hard in one way."""
    random = np.random.default_rng(1)
    a, b = random.normal(size=(150, 40)), random.normal(0.1, 1, size=(110, 40))
    if kind == "far from the origin":
        a, b = a + 3000, b + 3000
    elif kind == "nearly the same":  # far nearer to each other than products can tell
        a[:90] = a[0] + 1e-4 * a[:90]
        b[:70] = a[0] + 1e-4 * b[:70]
    elif kind == "repeated":
        a[75:], b[:50] = a[:75], a[:50]
    elif kind == "huge":
        a, b = 1e17 * a, 1e17 * b
    elif kind == "one outlier":
        a[3] *= 1e6
    return a.astype(np.float32), b.astype(np.float32)


KINDS = ["plain", "far from the origin", "nearly the same", "repeated", "huge", "one outlier"]


def all_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rows, columns = np.indices((len(a), len(b))).reshape(2, -1)
    return exact_distances(a, b, rows, columns).reshape(len(a), len(b))


@pytest.mark.parametrize("block", [37, 2048])
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_those_of_brute_force(kind: str, block: int, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    a, b = clouds(kind)
    across, among = all_distances(a, b), all_distances(a, a)
    np.fill_diagonal(among, np.inf)
    for actual, squared in ((nearest(a, b, 4), across), (nearest_others(a, 4), among)):
        np.testing.assert_array_equal(actual.squared, np.sort(squared, axis=1)[:, :4])
        chosen = np.take_along_axis(squared, actual.indices, axis=1)
        np.testing.assert_array_equal(chosen, actual.squared)


@pytest.mark.parametrize("block", [16])
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_within_are_those_of_brute_force(kind: str, block: int, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    a, b = clouds(kind)
    all_squared = all_distances(a, b)
    # Radii that some pair meets exactly: the surface is where rounding would decide.
    own = np.sort(all_squared, axis=1)[:, 2]
    theirs = [np.sort(all_squared, axis=0)[2], np.sort(all_squared, axis=0)[5]]
    for decide in (np.less, np.less_equal):
        within = np.zeros((3, len(a), len(b)), bool)
        for rows, columns, squared in pairs_within(a, b, [own], theirs):
            within[0, rows, columns] = decide(squared, own[rows])
            within[1, rows, columns] = decide(squared, theirs[0][columns])
            within[2, rows, columns] = decide(squared, theirs[1][columns])
        np.testing.assert_array_equal(within[0], decide(all_squared, own[:, None]))
        np.testing.assert_array_equal(within[1], decide(all_squared, theirs[0]))
        np.testing.assert_array_equal(within[2], decide(all_squared, theirs[1]))


def test_equal_points_are_at_no_distance_and_both_ways_agree() -> None:
    a, b = (each * 1000 for each in clouds("repeated"))
    assert (nearest(a, a, 1).squared == 0).all()
    assert (nearest(b[:50], a, 1).squared == 0).all()
    np.testing.assert_array_equal(all_distances(a, b), all_distances(b, a).T)


def test_order_of_the_images_does_not_matter() -> None:
    a, b = clouds("nearly the same")
    turn, other = RANDOM.permutation(len(a)), RANDOM.permutation(len(b))
    straight, turned = nearest(a, b, 3), nearest(a[turn], b[other], 3)
    np.testing.assert_array_equal(turned.squared, straight.squared[turn])
    np.testing.assert_array_equal(other[turned.indices], straight.indices[turn])
    among = nearest_others(a, 3).squared
    np.testing.assert_array_equal(nearest_others(a[turn], 3).squared, among[turn])


def test_too_few_images_are_refused() -> None:
    a, b = clouds("plain")
    with pytest.raises(ValueError, match="fewer neighbours"):
        nearest(a, b[:3], 4)
    with pytest.raises(ValueError, match="fewer neighbours"):
        nearest_others(a[:4], 4)
    with pytest.raises(ValueError, match="same extractor"):
        nearest(a, b[:, :7])
    with pytest.raises(ValueError, match="squared radii"):
        next(pairs_within(a, b, [np.zeros(3)], []))
