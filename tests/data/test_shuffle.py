"""The endless stream of images: each pass a permutation, any place reached without a walk."""

import pytest

from adm.data import shuffle


def test_every_pass_shows_every_image_once() -> None:
    stream = shuffle(0, 10, 0, 30)
    passes = [stream[:10], stream[10:20], stream[20:]]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


@pytest.mark.parametrize(("start", "count"), [(0, 3), (7, 6), (9, 1), (25, 40)])
def test_any_place_can_be_reached_directly(start: int, count: int) -> None:
    assert shuffle(3, 10, start, count) == shuffle(3, 10, 0, 100)[start : start + count]


def test_the_seed_decides() -> None:
    assert shuffle(0, 100, 0, 100) != shuffle(1, 100, 0, 100)
    assert shuffle(2**64 - 1, 100, 0, 100) != shuffle(2**64 - 2, 100, 0, 100)


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert sorted(shuffle(0, 3, 0, 9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        shuffle(0, 0, 0, 1)
