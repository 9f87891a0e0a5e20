"""Shards share all images, each of them once; a sum and a difference of spans are those of sets."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adm.generation.shares import Shard
from adm.store.spans import common, divide, union, without

SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: range(p[0], sum(p)))
)


def indices(spans: list[range]) -> list[int]:
    return [index for span in spans for index in span]


@given(SPANS, st.integers(1, 9), st.integers(1, 7))
def test_every_image_is_in_one_share_and_blocks_are_not_divided(
    spans: list[range], of: int, block: int
) -> None:
    shares = [indices(Shard(number, of).share(spans, block)) for number in range(1, of + 1)]
    assert indices([range(i, i + 1) for share in shares for i in share]) == indices(union(spans))
    owners = [{index // block for index in share} for share in shares]
    whole = union(spans)
    if len(whole) == 1:
        assert sum(map(len, owners)) == len(set().union(*owners))
        assert max(map(len, owners)) - min(map(len, owners)) <= 1


@given(SPANS, SPANS)
def test_spans_are_sets_of_indices(some: list[range], others: list[range]) -> None:
    one, other = set(indices(some)), set(indices(others))
    for found, wanted in (
        (union(some), one),
        (without(some, others), one - other),
        (common(some, others), one & other),
    ):
        assert indices(found) == sorted(wanted)
        assert all(a.stop < b.start for a, b in pairwise(found))


@given(SPANS, st.integers(1, 9))
def test_batches_hold_every_image_in_order(spans: list[range], size: int) -> None:
    found = [*divide(spans, size)]
    assert indices(found) == indices(spans)
    assert all(0 < len(batch) <= size for batch in found)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "4", "a/b", "1/4/2", "-1/4", "1.5/4", "", "9" * 99]
)
def test_a_text_that_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard must be a number from 1 .* such as 2/4"):
        Shard.parsed(text)


def test_a_shard_is_read_and_written() -> None:
    assert Shard.parsed(" 2/4 ") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
