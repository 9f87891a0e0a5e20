"""parts of a set of features, in any order -> the moments of the whole."""

import numpy as np
import pytest

from adm.metrics import Moments, frechet_distance, statistics
from adm.metrics.checks import ROWS

RANDOM = np.random.default_rng(0)
# Far from the origin, where sums of squares would have lost their digits.
FEATURES = (RANDOM.normal(size=(700, 9)) @ RANDOM.normal(size=(9, 9)) + 1000).astype(np.float32)


def assert_same(one: Moments, other: Moments) -> None:
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    scale = np.abs(other.scatter).max()
    np.testing.assert_allclose(one.scatter / scale, other.scatter / scale, atol=1e-12)


def test_moments_are_those_of_numpy() -> None:
    moments = Moments.of(FEATURES)
    wide = FEATURES.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(wide, rowvar=False), rtol=1e-9)
    assert moments.mean.dtype == moments.covariance.dtype == np.float64


@pytest.mark.parametrize("cuts", [[350], [1, 2, 3, 699], list(range(1, 700))])
def test_every_split_merges_to_the_whole(cuts: list[int]) -> None:
    parts = [Moments.of(part) for part in np.split(FEATURES, cuts)]
    assert_same(sum(parts, Moments.empty(9)), Moments.of(FEATURES))
    # Grouped as ranks of a run would, and in another order.
    ranks = [sum(parts[rank::3], Moments.empty(9)) for rank in (2, 0, 1)]
    assert_same(sum(ranks, Moments.empty(9)), Moments.of(FEATURES))


def test_order_and_batches_of_the_images_do_not_matter() -> None:
    many = RANDOM.normal(3, 1, size=(2 * ROWS + 5, 4))
    shuffled = Moments.of(many[RANDOM.permutation(len(many))])
    assert_same(shuffled, Moments.of(many))


def test_nothing_adds_nothing() -> None:
    some, none = Moments.of(FEATURES), Moments.empty(9)
    assert_same(some + none, some)
    assert_same(none + some, some)
    assert (none + none).count == 0


def test_statistics_of_moments_are_those_of_the_features() -> None:
    direct, merged = statistics(FEATURES), statistics(Moments.of(FEATURES))
    assert frechet_distance(direct, merged) == 0
    assert merged.mean.dtype == np.float32


def test_what_has_no_moments_is_refused() -> None:
    with pytest.raises(ValueError, match="same extractor"):
        Moments.empty(3) + Moments.empty(4)
    with pytest.raises(ValueError, match="N >= 2"):
        _ = Moments.of(FEATURES[:1]).covariance
    with pytest.raises(ValueError, match="N >= 1"):
        Moments.of(FEATURES[:0])
    broken = FEATURES.copy()
    broken[417, 3] = np.inf
    with pytest.raises(ValueError, match="row 417; leave"):
        Moments.of(broken)
    with pytest.raises(ValueError, match=f"row {3 * ROWS + 1}; leave"):
        Moments.of(np.where(np.arange(4 * ROWS)[:, None] > 3 * ROWS, np.nan, np.ones(1)))
    with pytest.raises(ValueError, match="real numbers, got complex"):
        Moments.of(FEATURES.astype(complex))
