"""x_0, noise, level -> x_t and back: q, its posterior, and what solves for what."""

import pytest
import torch
from oracle import normal

from adm.diffusion import cosine, linear, process

SHAPE = (5, 2, 3, 2)
SCHEDULES = {"linear": linear(100), "cosine": cosine(100)}
LEVELS = torch.tensor([1, 2, 50, 99, 100])
X_0, NOISE = normal(SHAPE, 0).clamp(-1, 1), normal(SHAPE, 1)


@pytest.fixture(params=SCHEDULES, name="schedule")
def _schedule(request):
    return SCHEDULES[request.param]


def test_noise_and_x_0_solve_for_each_other(schedule):
    x_t = process.diffuse(schedule, X_0, NOISE, LEVELS)
    # At the last level of the cosine schedule x_0 is a small difference of large numbers.
    close = {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(process.x_0_from_noise(schedule, x_t, NOISE, LEVELS), X_0, **close)
    torch.testing.assert_close(process.noise_from_x_0(schedule, x_t, X_0, LEVELS), NOISE, **close)


def test_velocity_turns_the_pair_of_x_0_and_noise_by_a_right_angle(schedule):
    v = process.velocity(schedule, X_0, NOISE, LEVELS)
    x_t = process.diffuse(schedule, X_0, NOISE, LEVELS)
    torch.testing.assert_close(x_t**2 + v**2, X_0**2 + NOISE**2)
    torch.testing.assert_close(process.x_0_from_velocity(schedule, x_t, v, LEVELS), X_0)


def test_x_0_is_solved_from_the_previous_mean(schedule):
    x_t = process.diffuse(schedule, X_0, NOISE, LEVELS)
    mean = process.posterior(schedule, X_0, x_t, LEVELS).mean
    solved = process.x_0_from_previous(schedule, x_t, mean, LEVELS)
    torch.testing.assert_close(solved, X_0, rtol=0, atol=1e-10)


def test_the_marginal_is_where_diffuse_puts_images(schedule):
    q = process.marginal(schedule, X_0, LEVELS)
    x_t = process.diffuse(schedule, X_0, NOISE, LEVELS)
    torch.testing.assert_close((x_t - q.mean) / q.variance.sqrt(), NOISE)
    torch.testing.assert_close(q.log_variance.exp(), q.variance)


@pytest.mark.parametrize("level", [1, 2, 50, 100])
def test_one_level_for_all_is_the_same_level_for_each(schedule, level):
    each = torch.full((len(X_0),), level)
    posterior = process.posterior
    functions = (
        process.diffuse,
        process.velocity,
        process.x_0_from_noise,
        lambda *arguments: posterior(*arguments).mean,
        lambda *arguments: posterior(*arguments).variance.expand(len(X_0), 1, 1, 1),
        lambda *arguments: posterior(*arguments).log_variance.expand(len(X_0), 1, 1, 1),
    )
    for function in functions:
        one, many = (function(schedule, X_0, NOISE, levels) for levels in (level, each))
        assert torch.equal(one, many)


def bridge(schedule, x_0, x_t, level, earlier):
    """q(x_s | x_t, x_0) for any s < t: the posterior of a process without levels between."""
    s, t = schedule.alpha_bar[earlier], schedule.alpha_bar[level]
    step = 1 - t / s
    mean = step * s.sqrt() / (1 - t) * x_0 + (1 - s) * (1 - step).sqrt() / (1 - t) * x_t
    variance = step * (1 - s) / (1 - t)
    return process.Gaussian(mean, variance, variance.log())


@pytest.mark.parametrize("level", [1, 2, 50, 100])
def test_the_bridge_over_one_step_is_the_posterior(schedule, level):
    x_t = process.diffuse(schedule, X_0, NOISE, level)
    between = bridge(schedule, X_0, x_t, level, level - 1)
    posterior = process.posterior(schedule, X_0, x_t, level)
    torch.testing.assert_close(between.mean, posterior.mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(between.variance, posterior.variance)
    if level > 1:
        torch.testing.assert_close(between.log_variance, posterior.log_variance)


@pytest.mark.parametrize(("late", "middle", "early"), [(100, 60, 3), (3, 2, 1), (50, 20, 0)])
def test_two_bridges_make_one(schedule, late, middle, early):
    """Draw x_s given x_t, then x_r given x_s: the same as x_r given x_t."""
    x_t = process.diffuse(schedule, X_0, NOISE, late)
    first = bridge(schedule, X_0, x_t, late, middle)
    second = bridge(schedule, X_0, first.mean, middle, early)
    slope = bridge(schedule, X_0, first.mean + 1, middle, early).mean - second.mean
    whole = bridge(schedule, X_0, x_t, late, early)
    torch.testing.assert_close(second.mean, whole.mean)
    variance = second.variance + slope**2 * first.variance
    torch.testing.assert_close(variance, whole.variance.expand_as(variance))


@pytest.mark.parametrize(("late", "early"), [(100, 99), (100, 40), (2, 1), (60, 0)])
def test_bridges_from_q_arrive_at_q(schedule, late, early):
    """x_t drawn from q(x_t | x_0) makes x_s a draw from q(x_s | x_0)."""
    q_t, q_s = (process.marginal(schedule, X_0, level) for level in (late, early))
    between = bridge(schedule, X_0, q_t.mean, late, early)
    slope = bridge(schedule, X_0, q_t.mean + 1, late, early).mean - between.mean
    torch.testing.assert_close(between.mean, q_s.mean)
    variance = between.variance + slope**2 * q_t.variance
    torch.testing.assert_close(variance, q_s.variance.expand_as(variance), rtol=1e-9, atol=1e-12)


def test_a_respaced_posterior_is_the_bridge_between_its_levels(schedule):
    levels = [4, 30, 31, 100]
    respaced = schedule.respaced(levels)
    for i, (early, late) in enumerate(zip([0, *levels], levels, strict=False), start=1):
        x_t = process.diffuse(schedule, X_0, NOISE, late)
        posterior = process.posterior(respaced, X_0, x_t, i)
        between = bridge(schedule, X_0, x_t, late, early)
        torch.testing.assert_close(posterior.mean, between.mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(posterior.variance, between.variance)


def test_only_the_first_log_variance_is_clipped(schedule):
    assert schedule.posterior_variance[1] == 0
    assert schedule.posterior_log_variance[1] == schedule.posterior_log_variance[2]
    torch.testing.assert_close(
        schedule.posterior_log_variance[2:].exp(), schedule.posterior_variance[2:]
    )


def test_float32_images_stay_float32_with_tables_rounded_only_on_look_up(schedule):
    x_0, noise = X_0.float(), NOISE.float()
    x_t = process.diffuse(schedule, x_0, noise, LEVELS)
    assert x_t.dtype == torch.float32
    exact = process.diffuse(schedule, x_0.double(), noise.double(), LEVELS)
    torch.testing.assert_close(x_t.double(), exact, rtol=0, atol=3e-7)
