"""Schedule, steps -> fractional levels: what must hold of every grid of them."""

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adm.diffusion import Schedule, cosine, linear
from adm.diffusion.fractional import FRACTIONAL, LEAST_NOISE, MOST_NOISE, noise_at
from adm.samplers import DDIM, Grid, Sampling
from adm.samplers.words import changed, from_json, to_json

SCHEDULES = {"linear": linear(1000), "cosine": cosine(1000), "short": cosine(20)}
VARIABLES = {
    "log_snr": lambda schedule, levels: schedule.log_snr_at(levels),
    "karras": lambda schedule, levels: noise_at(schedule, levels) ** (1 / 7),
}


@pytest.fixture(params=SCHEDULES, name="schedule")
def _schedule(request: pytest.FixtureRequest) -> Schedule:
    return SCHEDULES[request.param]


@pytest.mark.parametrize("steps", [2, 3, 5, 18])
@pytest.mark.parametrize("spacing", FRACTIONAL)
def test_levels_are_ascending_even_in_their_variable_and_end_where_they_say(
    schedule: Schedule, spacing: str, steps: int
) -> None:
    start = schedule.last - 1
    levels = Grid(steps=steps, spacing=spacing, start=start, end=1.5).visited(schedule)
    assert len(levels) == steps
    assert all(low < high for low, high in pairwise(levels))
    assert (levels[0], levels[-1]) == (1.5, start)
    differences = VARIABLES[spacing](schedule, levels).diff()
    torch.testing.assert_close(differences, differences.mean().expand(steps - 1))


@pytest.mark.parametrize("spacing", FRACTIONAL)
@pytest.mark.parametrize("make", [linear, cosine])
def test_the_ends_of_a_process_are_left_out_by_their_noise(make, spacing: str) -> None:  # type: ignore[no-untyped-def]
    schedule = make(1000)
    levels = Grid(steps=5, spacing=spacing).visited(schedule)
    least, most = noise_at(schedule, [levels[0], levels[-1]]).tolist()
    assert least == pytest.approx(LEAST_NOISE / 5)
    assert 0.8 * MOST_NOISE < most <= MOST_NOISE
    assert noise_at(schedule, [levels[-1] + 1]) > MOST_NOISE


@pytest.mark.parametrize("spacing", FRACTIONAL)
def test_more_levels_end_nearer_to_the_clean_image(spacing: str) -> None:
    ends = [Grid(steps=n, spacing=spacing).visited(cosine(1000))[0] for n in (2, 5, 10, 100, 900)]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == 1


def test_karras_is_equation_5() -> None:
    schedule, count = cosine(1000), 6
    levels = Grid(steps=count, spacing="karras", start=980, end=5).visited(schedule)
    low, high = noise_at(schedule, [5, 980]).tolist()
    for i, found in enumerate(noise_at(schedule, levels[::-1]).tolist()):
        root = high ** (1 / 7) + i / (count - 1) * (low ** (1 / 7) - high ** (1 / 7))
        assert found == pytest.approx(root**7)


@settings(max_examples=50, deadline=None)
@given(levels=st.lists(st.floats(1, 1000, allow_nan=False), min_size=1, max_size=9))
def test_the_level_of_a_log_snr_is_where_it_is(levels: list[float]) -> None:
    schedule = SCHEDULES["cosine"]
    found = schedule.level_of(schedule.log_snr_at(levels))
    assert found.tolist() == pytest.approx(levels, rel=1e-9)


def test_a_fractional_level_is_between_its_whole_ones(schedule: Schedule) -> None:
    between = schedule.visiting([3, 7.25, 12])
    low, high = schedule.log_snr[7], schedule.log_snr[8]
    torch.testing.assert_close(between.log_snr[2], 0.75 * low + 0.25 * high)
    assert between.timesteps.tolist() == pytest.approx([-1, 2, 6.25, 11])


def test_whole_levels_are_the_respaced_process_to_the_bit(schedule: Schedule) -> None:
    whole, given_ = schedule.respaced([2, 5, 19]), Grid(levels=(2.0, 5, 19.0)).of(schedule)
    assert torch.equal(whole.alpha_bar, given_.alpha_bar)
    assert torch.equal(whole.timesteps, given_.timesteps)


@pytest.mark.parametrize("name", ["even", "strided", "quadratic"])
def test_a_grid_of_a_spacing_is_the_grid_of_its_levels(name: str) -> None:
    schedule = cosine(1000)
    grid = Grid(steps=10, spacing=name, start=1000)
    same = Grid(levels=tuple(grid.visited(schedule)))
    assert same.steps == 10
    assert torch.equal(grid.of(schedule).alpha_bar, same.of(schedule).alpha_bar)
    assert all(isinstance(level, int) for level in same.visited(schedule))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spacing": "log_snir"}, "spacing 'log_snir' is unknown; use log_snr$"),
        ({"spacing": "odd"}, "spacing 'odd' is unknown; use even or strided or .* karras"),
        ({"levels": (5.0,)}, "at least 2 ascending numbers, each 1 or more, got 1"),
        ({"levels": (5.0, 4.0)}, "ascending .* got 5.0 before 4.0"),
        ({"levels": (5.0, 5.0)}, "ascending .* got 5.0 before 5.0"),
        ({"levels": (5.0, math.nan, 9.0)}, "ascending numbers, each 1 or more, got nan"),
        ({"levels": (0.5, 9.0)}, "ascending numbers, each 1 or more, got 0.5"),
        ({"levels": (5.0, math.inf)}, "ascending numbers, each 1 or more, got inf"),
        ({"levels": (5.0, 9.0), "steps": 3}, "got steps=3 and 2 levels; leave one"),
        ({"levels": (5.0, 9.0), "start": 8}, "start and end are those of the levels"),
        ({"end": 3.0}, "end is for spacing log_snr or karras, got spacing even; leave it out"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(**values)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(levels=(5.0, 100.5)), r"levels must be in 1\.\.100, got 100.5"),
        (Grid(steps=1, spacing="log_snr"), r"steps must be in 2\.\.100, got 1"),
        (Grid(steps=4, spacing="karras", start=101), r"start must be a level in 2\.\.100"),
        (Grid(steps=4, spacing="karras", start=50, end=50), "end must be .* below 50, got 50"),
        (Grid(steps=4, spacing="karras", end=0.5), "end must be a level from 1 to below 100"),
        (Grid(steps=4, spacing="karras", end=99.8), "end must be a level from 1 to below 99,"),
        (Grid(steps=4, spacing="searched"), "known to a generator"),
    ],
)
def test_a_grid_that_a_process_does_not_have_is_refused(grid: Grid, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid.of(cosine(100))


def test_another_choice_of_levels_replaces_the_one_before() -> None:
    given_ = changed(Sampling(grid=Grid(steps=9, start=90)), levels=(3, 40.5, 80))
    assert given_.grid == Grid(levels=(3.0, 40.5, 80.0))
    assert changed(given_, steps=4).grid == Grid(steps=4)
    assert changed(given_, seed=3).grid == changed(given_, steps=3).grid == given_.grid
    ended = changed(Sampling(), spacing="karras", end=4.0)
    assert changed(ended, steps=9).grid == Grid(steps=9, spacing="karras", end=4.0)
    assert changed(ended, spacing="even").grid == Grid()
    with pytest.raises(ValueError, match=r"pass steps=\.\.\. or levels=\.\.\., not both"):
        changed(Sampling(), steps=3, levels=(3, 40.5, 80))


@pytest.mark.parametrize(
    "grid",
    [
        Grid(levels=(1.0, 30.25, 80.0)),
        Grid(steps=6, spacing="karras", start=90, end=2.5),
        Grid(steps=3, spacing="searched", start=80, levels=(1.5, 30.25, 80.0)),
    ],
)
def test_a_grid_is_the_same_through_json(grid: Grid) -> None:
    sampling = Sampling(sampler=DDIM(), grid=grid)
    assert from_json(json.loads(json.dumps(to_json(sampling)))) == sampling


def test_a_grid_of_an_earlier_version_is_read() -> None:
    assert from_json({"grid": {"steps": 9, "spacing": "even", "start": 90}}).grid == Grid(
        steps=9, start=90
    )
