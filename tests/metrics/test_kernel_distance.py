"""two sets of features -> their kernel distance, without bias."""

import numpy as np
import pytest

from adm.metrics import kernel_distance, kernel_distance_of_all
from adm.metrics.kernel_distance import SUBSETS

RANDOM = np.random.default_rng(0)


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, pair by pair."""
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    total = 0.0
    for own in (x, y):
        pairs = [(a, b) for i, a in enumerate(own) for j, b in enumerate(own) if i != j]
        total += np.mean([kernel(a, b) for a, b in pairs])
    return total - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_the_distance_is_that_of_the_definition() -> None:
    x, y = RANDOM.normal(size=(9, 4)), RANDOM.normal(0.5, 1, size=(7, 4))
    assert kernel_distance_of_all(x, y) == pytest.approx(by_pairs(x, y), rel=1e-12)
    assert kernel_distance_of_all(y, x) == pytest.approx(by_pairs(x, y), rel=1e-12)


def test_a_shift_is_known_in_closed_form() -> None:
    # One feature, x from N(0, 1) and y from N(m, 1): with moments up to the third,
    # E k = sum over j of C(3, j) E[x^j] E[y^j], so that the distance is the sum over j of
    # C(3, j) (E[x^j] - E[y^j])^2.
    m, count = 0.7, 4000
    moments = np.array([[1, 0, 1, 0], [1, m, 1 + m**2, m**3 + 3 * m]])
    expected = np.array([1, 3, 3, 1]) @ np.square(moments[0] - moments[1])
    x, y = RANDOM.normal(size=(count, 1)), RANDOM.normal(m, 1, size=(count, 1))
    distance = kernel_distance(x, y, size=500)
    assert distance.low < expected < distance.high
    assert distance.value == pytest.approx(expected, rel=0.1)


def test_equal_distributions_are_at_distance_zero_on_average() -> None:
    draws = np.random.default_rng(5).normal(size=(400, 2, 12, 5))
    values = np.array([kernel_distance_of_all(x, y) for x, y in draws])
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean()) < 3 * error
    assert (values < 0).any()  # which no biased estimate is
    diagonal = np.mean([((x**2).sum(axis=1) / 5 + 1) ** 3 for x in draws[:, 0]])
    assert diagonal / 12 > 20 * error  # the detectable bias of including it


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_do_not_show(block: int, monkeypatch) -> None:
    x, y = RANDOM.normal(size=(130, 6)), RANDOM.normal(0.5, 1, size=(90, 6))
    whole = kernel_distance_of_all(x, y)
    monkeypatch.setitem(kernel_distance_of_all.__globals__, "BLOCK", block)
    assert kernel_distance_of_all(x, y) == pytest.approx(whole, rel=1e-12)


def test_subsets_are_the_seed_s_and_agree_with_all() -> None:
    x, y = RANDOM.normal(size=(600, 6)), RANDOM.normal(0.5, 1, size=(500, 6))
    distance = kernel_distance(x, y, seed=3)
    assert kernel_distance(x, y, SUBSETS, 250, seed=3) == distance
    assert kernel_distance(x, y, seed=4).value != distance.value
    assert distance.low < kernel_distance_of_all(x, y) < distance.high


@pytest.mark.parametrize("size", [1, 50])
def test_impossible_subsets_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="of 2 to 49"):
        kernel_distance(np.zeros((50, 3)), np.zeros((60, 3)), size=size)
    with pytest.raises(ValueError, match="not finite"):
        kernel_distance(np.full((50, 3), np.nan), np.zeros((60, 3)))
    with pytest.raises(ValueError, match="same extractor"):
        kernel_distance_of_all(np.zeros((50, 3)), np.zeros((60, 4)))
