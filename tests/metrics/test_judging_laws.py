"""logits -> accuracy, and its interval."""

import pytest
import torch

from adm.metrics.accuracy import accuracy, wilson


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
