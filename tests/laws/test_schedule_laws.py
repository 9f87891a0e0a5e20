"""T -> alpha_bar; T, count -> levels: laws of every schedule and spacing."""

import math
import re
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adm.diffusion import Schedule, cosine, karras, linear, process, spacing

SCHEDULES = {"linear": linear(200), "cosine": cosine(200), "short": cosine(2), "karras": karras(40)}


@st.composite
def total_and_count(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(1, 1200))
    return total, draw(st.integers(1, total))


@pytest.fixture(params=SCHEDULES, name="schedule")
def _schedule(request: pytest.FixtureRequest) -> Schedule:
    return SCHEDULES[request.param]


def test_alpha_bar_falls_from_exactly_1_and_is_the_product_of_its_betas(schedule):
    assert schedule.alpha_bar.dtype == torch.float64
    assert schedule.alpha_bar[0] == 1
    assert (schedule.alpha_bar.diff() < 0).all()
    assert (schedule.alpha_bar > 0).all()
    torch.testing.assert_close((1 - schedule.beta).cumprod(0), schedule.alpha_bar)


def test_signal_and_sigma_keep_the_variance(schedule):
    torch.testing.assert_close(
        schedule.signal**2 + schedule.sigma**2, torch.ones_like(schedule.alpha_bar)
    )


@pytest.mark.parametrize("steps", [100, 1000, 4000])
def test_linear_rises_between_ends_that_scale_with_t(steps):
    beta = linear(steps).beta[1:]
    ends = torch.tensor([0.1 / steps, 20 / steps], dtype=torch.float64)
    torch.testing.assert_close(beta[[0, -1]], ends)
    torch.testing.assert_close(beta.diff(), beta.diff().mean().expand(steps - 1))


def test_cosine_is_equation_17_until_beta_reaches_its_limit():
    time = torch.arange(1001, dtype=torch.float64) / 1000
    share = ((time + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    torch.testing.assert_close(cosine(1000).alpha_bar[:1000], (share / share[0])[:1000])
    assert cosine(1000).beta.max() == pytest.approx(0.999)


@pytest.mark.parametrize("schedule", [linear(200), cosine(200), cosine(2)])
def test_the_first_level_is_the_networks_step_0(schedule):
    assert schedule.timesteps.tolist() == list(range(-1, schedule.last))
    assert schedule.timestep(1, torch.zeros(3, 1, 2, 2)).tolist() == [0, 0, 0]
    levels = torch.tensor([2, 1])
    assert schedule.timestep(levels, torch.zeros(2, 1, 2, 2)).tolist() == [1, 0]


def test_rescaled_timesteps_are_of_a_thousand():
    rescaled = cosine(4000).rescaled()
    assert rescaled.timesteps[[1, 5, 4000]].tolist() == [0, 1, 999.75]
    assert torch.equal(rescaled.alpha_bar, cosine(4000).alpha_bar)


def test_respacing_by_everything_changes_nothing(schedule):
    same = schedule.respaced(range(1, schedule.last + 1))
    for name in ("alpha_bar", "timesteps", "beta", "posterior_variance", "posterior_log_variance"):
        assert torch.equal(getattr(same, name), getattr(schedule, name)), name


@settings(deadline=None)
@given(st.data())
def test_respacing_twice_is_respacing_once_by_the_composed_index(data):
    subset = st.lists(st.integers(1, 40), min_size=3, unique=True).map(sorted)
    first = data.draw(subset)
    second = data.draw(st.lists(st.integers(1, len(first)), min_size=2, unique=True).map(sorted))
    schedule = linear(40)
    twice = schedule.respaced(first).respaced(second)
    once = schedule.respaced([first[i - 1] for i in second])
    assert torch.equal(twice.alpha_bar, once.alpha_bar)
    assert torch.equal(twice.timesteps, once.timesteps)
    timesteps = [first[i - 1] - 1 for i in second]
    assert twice.timesteps[1:].tolist() == timesteps, "the network receives the original timesteps"


def test_respaced_betas_follow_the_levels():
    schedule, levels = cosine(100), [10, 50, 100]
    respaced = schedule.respaced(levels)
    merged = [(1 - schedule.beta[a + 1 : b + 1]).prod() for a, b in [(0, 10), (10, 50), (50, 100)]]
    torch.testing.assert_close(respaced.beta[1:], 1 - torch.stack(merged))


@pytest.mark.parametrize("levels", [[], [3], [0, 3], [3, 3], [5, 3], [3, 101], [-1, 3]])
def test_invalid_levels_of_a_respacing_are_refused(levels):
    with pytest.raises(ValueError, match=r"use 2 or more|levels in 1\.\.100, ascending"):
        cosine(100).respaced(levels)


def test_schedules_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="at least 20 steps, got 19; use cosine"):
        linear(19)
    with pytest.raises(ValueError, match="at least 2 steps, got 1; use 2 or more"):
        cosine(1)


@settings(deadline=None)
@given(total_and_count())
def test_even_spacing_keeps_both_ends_and_steps_evenly(case):
    total, count = case
    levels = spacing.even(total, count)
    gaps = [b - a for a, b in pairwise(levels)]
    assert len(levels) == count
    assert levels[0] == 1
    if count > 1:
        assert levels[-1] == total
        assert max(gaps) - min(gaps) <= 1
        assert min(gaps) >= 1


@settings(deadline=None)
@given(st.integers(2, 1200), st.data())
def test_strided_spacing_takes_the_smallest_stride_that_gives_the_count(total, data):
    count = len(range(0, total, data.draw(st.integers(1, total - 1))))
    levels = spacing.strided(total, count)
    stride = levels[1] - levels[0]
    assert levels == list(range(1, total + 1, stride))
    assert len(levels) == count
    assert stride == 1 or len(range(0, total, stride - 1)) > count


@settings(deadline=None)
@given(st.integers(2, 1200), st.data())
def test_a_count_without_a_stride_names_counts_that_have_one(total, data):
    count = data.draw(st.integers(1, total + 2))
    if any(len(range(0, total, stride)) == count for stride in range(1, total)):
        return
    with pytest.raises(ValueError, match="or even spacing") as error:
        spacing.strided(total, count)
    near = re.findall(r"\d+", str(error.value).split("use ")[1])
    assert near
    for suggested in map(int, near):
        assert len(spacing.strided(total, suggested)) == suggested


@settings(deadline=None)
@given(st.integers(1, 1200), st.data())
def test_ddims_quadratic_spacing_is_its_equation_up_to_the_last_level(total, data):
    count = data.draw(st.integers(1, math.isqrt(total)))
    levels = spacing.ddim_quadratic(total, count)
    c = Fraction(total, count**2)
    assert levels == [math.floor(c * i**2) for i in range(1, count + 1)]
    assert levels[0] >= 1
    assert all(a < b for a, b in pairwise(levels))
    assert levels[-1] == total


@settings(deadline=None)
@given(st.integers(1, 1200))
def test_the_largest_count_of_ddims_quadratic_spacing_is_named_and_is_the_largest(total):
    with pytest.raises(ValueError, match=r"even spacing, which takes any count") as error:
        spacing.ddim_quadratic(total, total + 1)
    named = re.search(r"use 1 to (\d+)", str(error.value))
    assert named is not None
    largest = int(named[1])
    assert len(set(spacing.ddim_quadratic(total, largest))) == largest
    beyond = [total * i**2 // (largest + 1) ** 2 for i in range(1, largest + 2)]
    assert len(set(beyond) - {0}) <= largest


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: spacing.even(10, 11), "use 1 to 10"),
        (lambda: spacing.even(10, 0), "use 1 to 10"),
        (lambda: spacing.ddim_quadratic(1000, 0), "use 1 to 31, or even"),
        (lambda: spacing.ddim_quadratic(1000, 32), "use 1 to 31, or even"),
        (lambda: spacing.strided(1000, 60), r"use \d+ or \d+, or even spacing"),
    ],
)
def test_an_impossible_spacing_names_the_cure(call, cure):
    with pytest.raises(ValueError, match=cure):
        call()


@pytest.mark.parametrize("make", [linear, cosine])
def test_log_snrs_of_levels_are_those_levels(make):
    schedule = make(100)
    levels = [2, 30, 31, 99]
    actual = schedule.at_log_snr(schedule.log_snr[levels].flip(0))
    torch.testing.assert_close(actual.alpha_bar, schedule.respaced(levels).alpha_bar)
    torch.testing.assert_close(actual.timesteps, schedule.respaced(levels).timesteps)


def test_a_log_snr_between_two_levels_has_a_timestep_between_theirs():
    schedule = cosine(50)
    middle = (schedule.log_snr[10] + schedule.log_snr[11]) / 2
    actual = schedule.at_log_snr(torch.stack([schedule.log_snr[40], middle]))
    assert actual.timesteps.tolist() == pytest.approx([-1, 9.5, 39])
    assert schedule.alpha_bar[11] < actual.alpha_bar[1] < schedule.alpha_bar[10]
    torch.testing.assert_close(actual.log_snr[1], middle)


@pytest.mark.parametrize("values", [[1.0], [2.0, 1.0], [1.0, 1.0], [-99.0, 0.0], [0.0, 99.0]])
def test_log_snrs_out_of_range_or_order_are_refused(values):
    with pytest.raises(ValueError, match=r"two ascending values in \["):
        cosine(50).at_log_snr(torch.tensor(values))


def test_levels_of_a_batch_are_looked_up_as_one_by_one(schedule):
    x, levels = torch.ones(2, 1, 1, 1), torch.tensor([1, schedule.last])
    for number, level in enumerate(levels.tolist()):
        assert schedule.timestep(levels, x)[number] == schedule.timestep(level, x)[0]
        diffused = process.diffuse(schedule, x, x, levels)[number]
        assert torch.equal(process.diffuse(schedule, x, x, level)[number], diffused)
