"""uint8 -> float -> uint8: which levels come back, by each rounding."""

import pytest
import torch
from torch import Tensor

from adm.images import ROUNDING, to_float, to_uint8, to_uint8_truncated

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
