"""Schedule, steps -> fractional levels: laws of every grid."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adm.diffusion import Schedule, cosine, linear
from adm.diffusion.fractional import LEAST_NOISE, MOST_NOISE, noise_at
from adm.samplers import GRIDS, Even, Grid, Karras, Levels, LogSNR, Sampling
from adm.spec import SettingError

SCHEDULES = {"linear": linear(1000), "cosine": cosine(1000), "short": cosine(20)}
VARIABLES = {
    "log-snr": lambda schedule, levels: schedule.log_snr_at(levels),
    "karras": lambda schedule, levels: noise_at(schedule, levels) ** (1 / 7),
}


@pytest.fixture(params=SCHEDULES, name="schedule")
def _schedule(request: pytest.FixtureRequest) -> Schedule:
    return SCHEDULES[request.param]


@pytest.mark.parametrize("steps", [2, 3, 5, 18])
@pytest.mark.parametrize("name", VARIABLES)
def test_levels_are_ascending_even_in_their_variable_and_end_where_they_say(
    schedule: Schedule, name: str, steps: int
) -> None:
    start = schedule.last - 1
    grid = GRIDS[name](steps=steps, start=start, end=1.5)  # type: ignore[call-arg]
    levels = grid.visited(schedule)
    assert len(levels) == steps
    assert all(low < high for low, high in pairwise(levels))
    assert (levels[0], levels[-1]) == (1.5, start)
    differences = VARIABLES[name](schedule, levels).diff()
    torch.testing.assert_close(differences, differences.mean().expand(steps - 1))


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("make", [linear, cosine])
def test_the_ends_of_a_process_are_left_out_by_their_noise(make, name: str) -> None:  # type: ignore[no-untyped-def]
    schedule = make(1000)
    levels = GRIDS[name](steps=5).visited(schedule)
    least, most = noise_at(schedule, [levels[0], levels[-1]]).tolist()
    assert least == pytest.approx(LEAST_NOISE / 5)
    assert 0.8 * MOST_NOISE < most <= MOST_NOISE
    assert noise_at(schedule, [levels[-1] + 1]) > MOST_NOISE


@pytest.mark.parametrize("name", VARIABLES)
def test_more_levels_end_nearer_to_the_clean_image(name: str) -> None:
    ends = [GRIDS[name](steps=n).visited(cosine(1000))[0] for n in (2, 5, 10, 100, 900)]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == 1
    # Two levels end where image and noise weigh the same, unless they start below.
    assert cosine(1000).log_snr_at(ends[:1]).item() == pytest.approx(0)
    assert GRIDS[name](steps=2, start=30).visited(cosine(1000)) == [1, 30]  # type: ignore[call-arg]


def test_karras_is_equation_5() -> None:
    schedule, count = cosine(1000), 6
    levels = Karras(steps=count, start=980, end=5).visited(schedule)
    low, high = noise_at(schedule, [5, 980]).tolist()
    for i, actual in enumerate(noise_at(schedule, levels[::-1]).tolist()):
        root = high ** (1 / 7) + i / (count - 1) * (low ** (1 / 7) - high ** (1 / 7))
        assert actual == pytest.approx(root**7)


@settings(max_examples=50, deadline=None)
@given(levels=st.lists(st.floats(1, 1000, allow_nan=False), min_size=1, max_size=9))
def test_the_level_of_a_log_snr_is_where_it_is(levels: list[float]) -> None:
    schedule = SCHEDULES["cosine"]
    actual = schedule.level_of(schedule.log_snr_at(levels))
    assert actual.tolist() == pytest.approx(levels, rel=1e-9)


def test_a_fractional_level_is_between_its_whole_ones(schedule: Schedule) -> None:
    between = schedule.visiting([3, 7.25, 12])
    low, high = schedule.log_snr[7], schedule.log_snr[8]
    torch.testing.assert_close(between.log_snr[2], 0.75 * low + 0.25 * high)
    assert between.timesteps.tolist() == pytest.approx([-1, 2, 6.25, 11])


def test_whole_levels_are_the_respaced_process_to_the_bit(schedule: Schedule) -> None:
    whole, visiting = schedule.respaced([2, 5, 19]), Levels(levels=(2.0, 5, 19.0)).of(schedule)
    assert torch.equal(whole.alpha_bar, visiting.alpha_bar)
    assert torch.equal(whole.timesteps, visiting.timesteps)


@pytest.mark.parametrize("name", ["even", "strided", "ddim-quadratic"])
def test_a_grid_of_a_spacing_is_the_grid_of_its_levels(name: str) -> None:
    schedule = cosine(1000)
    grid = GRIDS[name](steps=10, start=1000)  # type: ignore[call-arg]
    same = Levels(levels=tuple(grid.visited(schedule)))
    assert same.steps == 10
    assert torch.equal(grid.of(schedule).alpha_bar, same.of(schedule).alpha_bar)
    assert all(isinstance(level, int) for level in same.visited(schedule))


@pytest.mark.parametrize(
    "levels",
    [(), (5.0, 4.0), (5.0, 5.0), (5.0, math.nan, 9.0), (0.5, 9.0), (5.0, math.inf)],
)
def test_levels_are_ascending_finite_and_at_least_1(levels: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match=r"^levels"):
        Levels(levels=levels)


@pytest.mark.parametrize(
    ("grid", "field"),
    [
        (Levels(levels=(5.0, 100.5)), "grid.levels"),
        (LogSNR(steps=1), "steps"),
        (Even(steps=101), "steps"),
        (Even(steps=6, start=5), "steps"),
        (Karras(steps=4, start=101), "grid.start"),
        (Karras(steps=4, start=50, end=50), "grid.end"),
        (Karras(steps=4, end=99.8), "grid.end"),
    ],
)
def test_a_grid_that_a_process_does_not_have_is_refused(grid: Grid, field: str) -> None:
    with pytest.raises(SettingError) as error:
        grid.of(cosine(100))
    assert error.value.field == field


def test_another_grid_takes_over_the_steps_and_the_start() -> None:
    base = Sampling(grid=Even(steps=9, start=90))
    assert base.change(grid="levels:3,40.5,80").grid == Levels(levels=(3.0, 40.5, 80.0))
    assert base.change(grid="karras:end=4").grid == Karras(steps=9, start=90, end=4.0)
    ended = base.change(grid="karras:end=4", steps=5)
    assert ended.grid == Karras(steps=5, start=90, end=4.0)
    assert ended.change(grid="karras:steps=7").grid == Karras(steps=7, start=90, end=4.0)
    levels = base.change(grid="levels:3,40.5,80")
    assert levels.change(seed=3, steps=3).grid == levels.grid
    with pytest.raises(SettingError, match="grid=levels has 3 levels, and steps is 4"):
        levels.change(steps=4)
