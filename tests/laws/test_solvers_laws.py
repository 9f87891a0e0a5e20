"""denoise -> image by the solvers of high order: their weights, their first and last steps."""

import math
from functools import cache

import pytest
import torch
from oracle import (
    by_angle,
    four_modes,
    last,
    noise_like,
    normal,
    rms,
    sampler_of,
    slope,
)

from adm.diffusion import Prediction, cosine
from adm.diffusion.spacing import even
from adm.guidance import folded, scaled, through_denoiser
from adm.samplers.solver import adams, exponential, orders
from adm.spec import SettingError

DATA = four_modes()
LABEL = torch.tensor([0, 1, 2, 0])
CLIPS_AGAIN = ["ddim", "heun", "dpm-solver", "unipc", "ipndm"]
MULTISTEP = {"dpm-solver": 3, "unipc": 3, "ipndm": 4, "splitting": 4}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_weights_integrate_a_polynomial_exactly(count):
    nodes, start, end = [0.4, -0.1, -0.9, -1.3][:count], 0.4, 0.7
    for power in range(count):
        values = [node**power for node in nodes]
        weights = adams(nodes, start, end)
        integral = sum(weight * value for weight, value in zip(weights, values, strict=True))
        assert integral == pytest.approx((end ** (power + 1) - start ** (power + 1)) / (power + 1))


def test_weights_of_even_steps_are_those_of_the_books():
    assert adams([0, -1, -2, -3], 0, 1) == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24])
    assert adams([0, -1, -2], 0, 1) == pytest.approx([23 / 12, -16 / 12, 5 / 12])


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("h", [1e-2, 0.5, 3.0, 20.0])
def test_exponential_weights_integrate_a_parabola_exactly(rate, h):
    """By parts, of rate u exp(-rate (h - u)) from 0 to h, and of the same with u^2."""
    nodes = [0.0, -0.7, -1.5]
    weights = exponential(nodes, 0.0, h, rate)
    zeroth = -math.expm1(-rate * h)
    exact = [zeroth, h - zeroth / rate, h**2 - 2 * (h - zeroth / rate) / rate]
    for power, integral in enumerate(exact):
        actual = sum(weight * node**power for weight, node in zip(weights, nodes, strict=True))
        assert actual == pytest.approx(integral, rel=1e-6)


def test_two_exponential_weights_take_a_line_at_the_middle_of_the_step():
    """Lu et al. 2022b, Algorithm 2: D = (1 + 1 / 2r) x_0 - 1 / 2r x_0 of the level before."""
    h, before = 0.5, 0.7
    total, r = -math.expm1(-h), before / h
    weights = exponential([0.0, -before], 0.0, h)
    assert weights == pytest.approx([total * (1 + 1 / (2 * r)), -total / (2 * r)])


def test_the_order_rises_in_the_first_steps_and_falls_in_the_last():
    """Listed by the level that a step leaves; level 0 is left by none."""
    assert orders(3, 6, lower_order_final=True)[:0:-1] == [1, 2, 3, 3, 2, 1]
    assert orders(3, 6, lower_order_final=False)[:0:-1] == [1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("dpm-solver:order=1", "ddim"),
        ("dpm-solver:order=1,eta=1", "ddim:eta=1"),
        ("ipndm:order=1", "ddim"),
        ("splitting:order=1", "ddim"),
        ("splitting:order=3", "ipndm:order=3"),
        ("ipndm:order=3,even=true", "splitting:order=3,even=true"),
    ],
)
def test_without_guidance_two_samplers_are_the_same(name, same):
    schedule, x = by_angle(9, first=0.1), normal((3, 1, 2, 2), 0)
    one, other = (
        last(sampler_of(n)(DATA.denoise(schedule), x, schedule, noise_like(x)))
        for n in (name, same)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["dpm-solver", "dpm-solver:eta=1", "unipc", "dpm-solver:order=3"])
def test_a_solver_returns_its_last_estimate_of_x_0(name):
    schedule, x = cosine(40).respaced(even(40, 7)), normal((3, 1, 2, 2), 0)
    *_, state = sampler_of(name)(DATA.denoise(schedule), x, schedule, noise_like(x))
    assert torch.equal(state.x, state.prediction.x_0)


@pytest.mark.parametrize("name", ["heun", *MULTISTEP, "dpm-solver:eta=1", "dpm-solver:order=3"])
def test_fractional_timesteps_of_a_process_even_in_log_snr_are_sampled(name):
    """5 steps give an image of the data, which 5 even steps from pure noise do not miss by far."""
    full, x = cosine(1000), normal((64, 1, 2, 2), 0)
    ends = float(full.log_snr[980]), float(full.log_snr[1])
    timesteps = set()

    def recorded(schedule):
        def denoise(x_t, level):
            timesteps.add(float(schedule.timestep(level, x_t)[0]))
            return DATA.denoise(schedule)(x_t, level)

        return denoise

    def sampled(steps):
        schedule = full.at_log_snr(torch.linspace(*ends, steps, dtype=torch.float64))
        return last(sampler_of(name)(recorded(schedule), x, schedule, noise_like(x)))

    error = rms(sampled(8) - sampled(100)) if "eta" not in name else rms(sampled(8)) - 0.5
    assert any(timestep % 1 for timestep in timesteps)
    assert error < 0.25


@pytest.mark.parametrize("name", [*MULTISTEP, "dpm-solver:eta=1", "dpm-solver:order=3"])
@pytest.mark.parametrize("steps", [4, 10])
def test_the_noisiest_level_of_the_cosine_schedule_does_no_harm(name, steps):
    """There sigma / signal is 20,291, by which no error in float32 must grow."""
    schedule, x = cosine(1000).respaced(even(1000, steps)), normal((64, 1, 2, 2), 0)

    def of(dtype):
        def denoise(x_t, level):
            p = DATA.denoise(schedule)(x_t.double(), level)
            return Prediction.from_x_0(schedule, x_t, level, p.x_0.to(dtype), p.variance)

        noise = noise_like(x)
        return sampler_of(name)(
            denoise, x.to(dtype), schedule, lambda level: noise(level).to(dtype)
        )

    for single, double in zip(of(torch.float32), of(torch.float64), strict=True):
        assert rms(double.x) < 1.5
        assert rms(single.x - double.x) < 2e-3


@pytest.mark.parametrize(("name", "highest"), MULTISTEP.items())
def test_an_order_out_of_range_and_too_few_levels_are_refused(name, highest):
    for order in (0, highest + 1):
        with pytest.raises(SettingError, match=r"^sampler\.order must be at (least|most)"):
            sampler_of(f"{name}:order={order}")
    sampler = sampler_of(f"{name}:order=3")
    assert sampler.evaluations(3) == 3
    with pytest.raises(SettingError, match=r"^steps must be at least 3"):
        sampler.evaluations(2)


@pytest.mark.parametrize("name", CLIPS_AGAIN)
def test_a_threshold_is_applied_after_guidance_where_requested(name):
    schedule, x = by_angle(15, first=0.1), normal((4, 1, 2, 2), 0)
    pull = scaled(DATA.gradient(schedule, LABEL), 20.0)

    def widest(spec, *threshold):
        states = sampler_of(spec)(
            DATA.denoise(schedule), x, schedule, noise_like(x), pull, *threshold
        )
        return max(state.prediction.x_0.abs().max().item() for state in states)

    assert widest(name) > 1.5
    assert widest(f"{name}:clip_again=true") <= 1
    assert widest(f"{name}:clip_again=true", lambda x_0: x_0.clamp(-0.3, 0.3)) == pytest.approx(0.3)


@cache
def guided(name, steps, scale=8.0):
    schedule, x = by_angle(steps, first=1.5 / steps), normal((64, 1, 2, 2), 2)
    pull = scaled(DATA.gradient(schedule, LABEL.repeat(16)), scale)
    return last(sampler_of(name)(DATA.denoise(schedule), x, schedule, noise_like(x), pull))


@pytest.mark.parametrize("name", ["ddim", "heun", *MULTISTEP])
def test_all_solvers_converge_to_one_guided_image(name):
    """Though splitting reaches it by another way, at the first order of its splitting."""
    assert rms(guided(name, 100) - guided("heun", 150)) < 0.05


def test_splitting_converges_at_the_first_order_of_its_splitting():
    exact, counts = guided("heun", 150), [25, 50, 100]
    errors = [rms(guided("splitting", steps) - exact) for steps in counts]
    assert slope(counts, errors) == pytest.approx(1, abs=0.3), errors


def test_splitting_evaluates_the_network_where_the_gradient_has_moved_x():
    """The first step by hand; its state shows the network's estimate, shifted by the gradient."""
    schedule, x, pull = by_angle(5, first=0.2), normal((2, 1, 2, 2), 0), normal((2, 1, 2, 2), 1)
    denoise, t = DATA.denoise(schedule), schedule.last
    state = next(
        sampler_of("splitting")(denoise, x, schedule, noise_like(x), lambda x_t, level, p: pull)
    )
    g = schedule.sigma / schedule.signal
    moved = x - schedule.signal[t] * schedule.sigma[t] * (g[t - 1] - g[t]) * pull
    free = denoise(moved, t)
    step = schedule.signal[t - 1] * free.x_0 + schedule.sigma[t - 1] * free.noise
    torch.testing.assert_close(state.x, step)
    shown = folded(denoise, lambda x_t, level, p: pull, schedule)(moved, t)
    torch.testing.assert_close(state.prediction.x_0, shown.x_0)
    torch.testing.assert_close(state.prediction.noise, shown.noise)


def test_splitting_refuses_a_gradient_of_the_prediction():
    schedule, x = by_angle(5, first=0.2), normal((2, 1, 2, 2), 0)
    gradient = through_denoiser(lambda p, level: -p.x_0.square().flatten(1).sum(1))
    with pytest.raises(ValueError, match=r"depends on the prediction; use another sampler"):
        last(sampler_of("splitting")(DATA.denoise(schedule), x, schedule, noise_like(x), gradient))
