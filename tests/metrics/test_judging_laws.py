"""logits -> accuracy, scores -> area under the ROC curve, and their intervals."""

import numpy as np
import pytest
import torch

from adm.metrics.accuracy import accuracy, roc_area, wilson


@pytest.mark.parametrize("count", [1, 2, 49, 1000])
def test_the_interval_contains_the_share_and_stays_within_0_and_1(count: int) -> None:
    for right in range(count + 1):
        share = wilson(right, count)
        assert share.value == right / count
        assert 0 <= share.low <= share.value <= share.high <= 1


def test_the_interval_is_the_textbook_s() -> None:
    # Both ends solve (p - x)^2 = z^2 x (1 - x) / n for x.
    share = wilson(81, 263)
    for end in (share.low, share.high):
        left = (share.value - end) ** 2
        assert left == pytest.approx(1.959964**2 * end * (1 - end) / 263, rel=1e-9)


def test_the_interval_covers_95_of_100_experiments() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.binomial(torch.full((4000,), 200.0), torch.tensor(0.9), generator=generator)
    intervals = [wilson(int(right), 200) for right in draws]
    share = sum(s.low <= 0.9 <= s.high for s in intervals) / len(intervals)
    assert 0.93 < share < 0.97


def test_accuracy_counts_the_most_likely_class() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])).value == 0.75
    with pytest.raises(ValueError, match="at least one image"):
        accuracy(logits[:0], torch.zeros(0, dtype=torch.long))


def test_the_roc_area_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 6, 60).astype(float), random.random(60) < 0.4
    own, others = scores[positive][:, None], scores[~positive]
    expected = ((own > others) + (own == others) / 2).mean()
    area = roc_area(scores, positive)
    assert area.value == pytest.approx(expected)
    assert area.low < expected < area.high
    assert roc_area(np.exp(scores), positive) == area
    assert roc_area(scores, ~positive).value == pytest.approx(1 - expected)
    assert tuple(roc_area(positive.astype(float), positive)) == (1, 1, 1)
    with pytest.raises(ValueError, match="both kinds"):
        roc_area(scores, np.ones(60, bool))


def test_the_interval_of_a_roc_area_contains_the_truth_as_often_as_stated() -> None:
    """Normal scores a standard deviation apart have an area of Phi(1 / sqrt(2))."""
    random, positive = np.random.default_rng(0), np.arange(120) < 60
    contained = 0
    for _ in range(150):
        area = roc_area(random.normal(size=120) + positive, positive, resamples=200)
        contained += area.low <= 0.7602 <= area.high
    assert 0.88 <= contained / 150 <= 0.99
