"""Stored levels -> float -> stored levels: which come back, by each rounding and range."""

import numpy as np
import pytest
import torch
from torch import Tensor

from adm.images import RANGES, ROUNDING, to_float, to_uint8, to_uint8_truncated
from adm.spec import parse

LEVELS = torch.arange(256, dtype=torch.uint8)


def between(offset: float) -> Tensor:
    """Float images that lie `offset` levels above each of the 256."""
    return (LEVELS.double() + offset) / 127.5 - 1


def test_every_level_is_a_float_in_the_range_of_images_in_equal_steps() -> None:
    floats = to_float(LEVELS)
    assert floats.dtype == torch.float32
    assert (floats[0], floats[-1]) == (-1, 1)
    torch.testing.assert_close(floats.diff(), torch.full((255,), 2 / 255), rtol=0, atol=1e-6)


def test_rounding_to_the_nearest_restores_all_256_levels() -> None:
    assert torch.equal(to_uint8(to_float(LEVELS)), LEVELS)


@pytest.mark.parametrize("offset", [-0.49, -0.25, 0.0, 0.25, 0.49])
def test_the_nearest_level_is_less_than_half_a_level_away(offset: float) -> None:
    assert torch.equal(to_uint8(between(offset)), LEVELS)


def test_truncation_restores_all_but_63_levels_which_fall_by_one() -> None:
    """A level that `to_float` rounds downwards is just below itself, and is truncated."""
    lost = LEVELS.int() - to_uint8_truncated(to_float(LEVELS)).int()
    assert set(lost.tolist()) == {0, 1}
    assert lost.sum() == 63
    assert lost[[0, 255]].sum() == 0


@pytest.mark.parametrize("offset", [0.01, 0.5, 0.99])
def test_truncation_takes_the_level_at_or_below(offset: float) -> None:
    assert torch.equal(to_uint8_truncated(between(offset)), LEVELS)


@pytest.mark.parametrize("rounding", ROUNDING.values(), ids=ROUNDING)
def test_floats_beyond_the_range_become_the_levels_at_its_ends(rounding) -> None:
    beyond = torch.tensor([-torch.inf, -7.0, -1.01, 1.01, 7.0, torch.inf])
    assert rounding(beyond).tolist() == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize("rounding", ROUNDING.values(), ids=ROUNDING)
def test_a_brighter_float_is_never_a_darker_level(rounding) -> None:
    levels = rounding(torch.linspace(-1.1, 1.1, 20_001)).int()
    assert (levels.diff() >= 0).all()
    assert set(levels.tolist()) == set(range(256))


@pytest.mark.parametrize(
    "spec", ["uint8", "uint16", "uint16:high=4095", "uint16:low=100,high=60000"]
)
def test_every_whole_number_of_a_range_comes_back_from_float32(spec: str) -> None:
    stored = parse(RANGES, spec, "range")
    values = np.arange(stored.low, stored.high + 1).astype(stored.dtype)
    images = stored.read(values)
    assert np.array_equal(stored.write(images), values)
    floats = to_float(images)
    assert (floats.dtype, floats[0], floats[-1]) == (torch.float32, -1, 1)
    assert torch.equal(stored.sampled(floats), images)
    # Whatever lies less than half a level away is the level, and what lies outside is an end.
    off = (torch.rand(len(values)) - 0.5).double() * 0.9 * 2 / (stored.high - stored.low)
    assert np.array_equal(stored.write(stored.sampled((floats.double() + off).float())), values)
    ends = stored.write(stored.sampled(torch.tensor([-7.0, 7.0])))
    assert ends.tolist() == [stored.low, stored.high]


def test_real_numbers_come_back_but_for_the_rounding_of_float32() -> None:
    stored = parse(RANGES, "float:low=0.1,high=3000", "range")
    values = np.random.default_rng(0).uniform(0.1, 3000, 10_000)
    values[:2] = stored.low, stored.high
    written = stored.write(stored.read(values))
    assert written.dtype == np.float32
    assert np.abs(written - values).max() <= 3000 * 2**-23
    stored.read(written)  # which the rounded ends are within
