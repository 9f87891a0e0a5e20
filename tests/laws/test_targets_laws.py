"""target -> the same denoiser: preconditioning is a change of variables, and so is every target."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import four_modes, last, noise_like, normal, sampler_of
from torch import Tensor

from adm.diffusion import (
    EDM,
    FIXED_SMALL,
    NOISE,
    PREVIOUS_MEAN,
    VELOCITY,
    X_0,
    ConsistencyTarget,
    Denoise,
    Parameterization,
    Schedule,
    Target,
    cosine,
    denoiser,
    karras,
    linear,
    process,
)
from adm.diffusion.schedule import at
from adm.training.levels import LogNormal

SCHEDULE = cosine(40)
TARGETS: dict[str, Target] = {
    "noise": NOISE,
    "x_0": X_0,
    "velocity": VELOCITY,
    "previous mean": PREVIOUS_MEAN,
    "edm": EDM(sigma_data=0.5),
    "edm of unit data": EDM(sigma_data=1),
    "consistency": ConsistencyTarget(sigma_data=0.5),
}
EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
LEVELS = torch.tensor([1, 2, 13, 20, 39])


def oracle_s_network(schedule: Schedule, target: Target) -> Denoise:
    """The oracle as a network of this target, which receives the target's input only."""
    exact = four_modes().denoise(schedule)

    def network(scaled: Tensor, timestep: Tensor) -> Tensor:
        level = torch.searchsorted(schedule.timesteps, timestep.contiguous())
        one = target.input(schedule, torch.ones_like(scaled), level)
        x_t = scaled / one
        p = exact(x_t, level)
        return target.of(schedule, p.x_0, p.noise, x_t, level)

    return denoiser(network, schedule, Parameterization(target, FIXED_SMALL), threshold=None)


@EVERY
def test_a_target_is_a_change_of_variables(target: Target) -> None:
    x_t = normal((5, 1, 2, 2), 0)
    exact = four_modes().denoise(SCHEDULE)(x_t, LEVELS)
    actual = oracle_s_network(SCHEDULE, target)(x_t, LEVELS)
    torch.testing.assert_close(actual.x_0, exact.x_0, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver:order=2", "ancestral"])
def test_preconditioning_changes_no_sample(sampler: str) -> None:
    schedule = cosine(40).respaced(range(2, 41, 2))
    x = normal((8, 1, 2, 2), 1)
    samples = [
        last(sampler_of(sampler)(oracle_s_network(schedule, target), x, schedule, noise_like(x)))
        for target in (VELOCITY, EDM(sigma_data=0.5))
    ]
    torch.testing.assert_close(*samples, rtol=0, atol=1e-9)


def test_with_unit_data_edm_is_minus_the_velocity_of_the_same_input() -> None:
    x_0, noise = normal((5, 1, 2, 2), 0), normal((5, 1, 2, 2), 1)
    x_t, unit = process.diffuse(SCHEDULE, x_0, noise, LEVELS), EDM(sigma_data=1)
    actual = unit.of(SCHEDULE, x_0, noise, x_t, LEVELS)
    torch.testing.assert_close(actual, -VELOCITY.of(SCHEDULE, x_0, noise, x_t, LEVELS))
    torch.testing.assert_close(unit.input(SCHEDULE, x_t, LEVELS), x_t)


@pytest.mark.parametrize("sigma_data", [0.25, 0.5, 1.0])
def test_input_and_target_of_edm_are_those_of_its_table(sigma_data: float) -> None:
    """Karras et al. 2022, table 1: c_in, c_skip and c_out of x_0 + ratio noise = x_t / signal."""
    x_0, noise = normal((5, 1, 2, 2), 0), normal((5, 1, 2, 2), 1)
    x_t, target = process.diffuse(SCHEDULE, x_0, noise, LEVELS), EDM(sigma_data=sigma_data)
    ratio = at(SCHEDULE.noise_to_signal, LEVELS, x_t)
    both = ratio**2 + sigma_data**2
    c_skip, c_out = sigma_data**2 / both, ratio * sigma_data / both.sqrt()
    scaled = target.input(SCHEDULE, x_t, LEVELS)
    torch.testing.assert_close(scaled, (x_0 + ratio * noise) / both.sqrt())
    output = target.of(SCHEDULE, x_0, noise, x_t, LEVELS)
    torch.testing.assert_close(output, (x_0 - c_skip * (x_0 + ratio * noise)) / c_out)


@pytest.mark.parametrize("level", [1, 7, 20, 40])
def test_the_target_of_a_consistency_model_is_that_of_its_paper(level: int) -> None:
    """Song et al. 2023, appendix C: c_skip and c_out with t - least in place of t."""
    schedule, target = karras(40), ConsistencyTarget(sigma_data=0.5, least=0.002)
    x_t, output = normal((5, 1, 2, 2), 0), normal((5, 1, 2, 2), 1)
    t = schedule.noise_to_signal[level]
    c_skip = 0.25 / ((t - 0.002) ** 2 + 0.25)
    c_out = 0.5 * (t - 0.002) / (t**2 + 0.25).sqrt()
    actual = target.to_x_0(schedule, x_t, output, level)
    torch.testing.assert_close(actual, c_skip * x_t / schedule.signal[level] + c_out * output)
    if level == 1:  # the boundary condition, whatever the network's output is
        torch.testing.assert_close(actual, x_t / schedule.signal[1], rtol=0, atol=1e-9)


def test_heun_s_method_in_edm_s_process_is_its_algorithm_1() -> None:
    """Karras et al. 2022, in x / signal and sigma / signal, from 80 to 0.002 and to 0."""
    schedule, x = karras(12), normal((8, 1, 2, 2), 3)
    exact = four_modes().denoise(schedule)
    sigmas = [*schedule.noise_to_signal.flip(0).tolist()]
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == (pytest.approx(80), pytest.approx(0.002), 0)

    def slope(y: Tensor, place: int) -> Tensor:
        level = schedule.last - place
        return (y - exact(y * schedule.signal[level], level).x_0) / sigmas[place]

    y = x / schedule.signal[-1]
    for place, (sigma, following) in enumerate(pairwise(sigmas)):
        first = slope(y, place)
        ahead = y + (following - sigma) * first
        if following:
            ahead = y + (following - sigma) * (first + slope(ahead, place + 1)) / 2
        y = ahead
    samples = last(sampler_of("heun")(exact, x, schedule, noise_like(x)))
    torch.testing.assert_close(samples, y, rtol=1e-8, atol=1e-8)


def test_the_network_of_edm_s_process_receives_c_noise_between_levels_as_well() -> None:
    visited = karras(40).visiting([3.25, 17.5, 40])
    c_noise = visited.noise_to_signal[1:].log() / 4
    torch.testing.assert_close(visited.timesteps[1:].double(), 1000 * c_noise, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("sigma_data", [0.25, 0.5])
def test_input_and_target_have_unit_variance_for_data_of_that_deviation(sigma_data: float) -> None:
    shape, target = (100_000, 1, 1, 1), EDM(sigma_data=sigma_data)
    x_0, noise = sigma_data * normal(shape, 0), normal(shape, 1)
    for level in (1, 10, 20, 40):
        x_t = process.diffuse(SCHEDULE, x_0, noise, level)
        for values in (
            target.input(SCHEDULE, x_t, level),
            target.of(SCHEDULE, x_0, noise, x_t, level),
        ):
            assert abs(values.var().item() - 1) < 4 * math.sqrt(2 / len(values))


@pytest.mark.parametrize("target", [EDM(sigma_data=0.5), ConsistencyTarget(sigma_data=0.5)])
def test_the_gain_is_the_error_of_x_0_for_one_of_the_output(target: EDM) -> None:
    x_t, output = normal((5, 1, 2, 2), 0), normal((5, 1, 2, 2), 1)
    base, off = (target.to_x_0(SCHEDULE, x_t, output + by, LEVELS) for by in (0, 1))
    gain = at(target.gain(SCHEDULE), LEVELS, x_t).expand_as(x_t)
    torch.testing.assert_close((off - base).abs(), gain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_edm_s_own_weight_of_x_0_is_no_weight_of_its_target(sigma_data: float) -> None:
    """Karras et al. 2022, equation 8: 1 / c_out^2."""
    target = EDM(sigma_data=sigma_data)
    ratio = SCHEDULE.noise_to_signal[1:]
    per_c_out = (ratio**2 + sigma_data**2) / (ratio * sigma_data) ** 2
    torch.testing.assert_close(1 / target.gain(SCHEDULE)[1:] ** 2, per_c_out)


@pytest.mark.parametrize("schedule", [cosine(1000), linear(1000)], ids=["cosine", "linear"])
def test_log_normal_levels_have_that_mean_and_deviation(schedule: Schedule) -> None:
    rule, n = LogNormal(mean=-1.2, std=1.2), 200_000
    levels, weights = rule.over(schedule)((np.arange(n) + 0.5) / n)
    log_ratio = schedule.noise_to_signal.log()[torch.from_numpy(levels)]
    # The levels end, the linear ones at -4.6: two cells of the ends hold what is beyond them.
    assert log_ratio.mean().item() == pytest.approx(-1.2, abs=0.01)
    assert log_ratio.std().item() == pytest.approx(1.2, abs=0.01)
    assert (weights == 1).all()


def test_every_uniform_number_is_a_level_and_a_larger_one_no_cleaner_level() -> None:
    draw = LogNormal().over(SCHEDULE)
    levels, _ = draw(np.linspace(0, np.nextafter(1.0, 0.0), 10_001))
    assert (levels[0], levels[-1]) == (1, SCHEDULE.last)
    assert (np.diff(levels) >= 0).all()
    assert draw(np.array([0.5]))[0].dtype == np.int64
