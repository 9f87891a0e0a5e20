"""denoise, noise -> image by DDIM, and back: its eta, its inverse, its clipping."""

import pytest
import torch
from oracle import (
    fixed_variance,
    four_modes,
    last,
    noise_like,
    normal,
    rms,
    seeded,
    slope,
)

from adm.diffusion import Prediction, cosine, spacing
from adm.samplers import DDIM, Ancestral, encode

DATA = four_modes()


def test_ddim_with_all_its_noise_is_ancestral_sampling_with_the_posteriors_variance():
    schedule, x = cosine(30), normal((4, 1, 2, 2), 0)
    exact = DATA.denoise(schedule)

    fixed = fixed_variance(exact, schedule)
    full = last(DDIM(eta=1.0)(exact, x, schedule, noise_like(x)))
    torch.testing.assert_close(full, last(Ancestral()(fixed, x, schedule, noise_like(x))))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_keeps_the_marginals_at_any_eta(eta):
    """One step from q(x_t | x_0), by a model that knows x_0, arrives at q(x_(t-1) | x_0)."""
    schedule, x_0 = cosine(10), torch.full((1, 1, 2, 2), 0.3).double()

    def knows(x_t, level):
        variance = DATA.denoise(schedule)(x_t, level).variance
        return Prediction.from_x_0(schedule, x_t, level, x_0, variance)

    def first(x, drawn):
        return next(DDIM(eta=eta)(knows, x, schedule, lambda level, draw=0: drawn)).x

    zero, one = torch.zeros_like(x_0), torch.ones_like(x_0)
    mean = schedule.signal[-1] * x_0
    centre = first(mean, zero)
    torch.testing.assert_close(centre, schedule.signal[-2] * x_0)
    fresh, carried = first(mean, one) - centre, first(mean + schedule.sigma[-1], zero) - centre
    torch.testing.assert_close(fresh, eta * schedule.posterior_variance[-1].sqrt() * one)
    torch.testing.assert_close(fresh**2 + carried**2, schedule.sigma[-2] ** 2 * one)


def test_encoding_and_sampling_undo_each_other_as_steps_grow():
    x_0, _ = DATA.sample(64, seeded(1))
    counts, errors = [25, 50, 100, 200], []
    for steps in counts:
        schedule = cosine(1000).respaced(spacing.even(1000, steps))
        states = list(encode(DATA.denoise(schedule), x_0, schedule))
        assert [state.level for state in states] == list(range(2, steps + 2))
        noise = states[-1].x
        again = last(DDIM()(DATA.denoise(schedule), noise, schedule, noise_like(noise)))
        errors.append(rms(again - x_0))
    assert slope(counts, errors) == pytest.approx(1, abs=0.15), errors
    assert errors[-1] < 0.01, errors
    assert rms(noise) == pytest.approx(1, abs=0.15), "the code is noise of unit variance"


def test_encoding_ends_at_pure_noise_and_passes_every_level_on_its_way():
    """Whatever the model, x is signal x_0 + sigma noise of its level, at the end noise alone."""
    schedule, x_0 = cosine(8), normal((2, 1, 2, 2), 0)

    def wrong(x_t, level):
        variance = DATA.denoise(schedule)(x_t, level).variance
        return Prediction.from_x_0(schedule, x_t, level, 0.5 * x_t + 0.1 * level, variance)

    *states, final = encode(wrong, x_0, schedule)
    for state in states:
        p, level = state.prediction, state.level
        expected = schedule.signal[level] * p.x_0 + schedule.sigma[level] * p.noise
        torch.testing.assert_close(state.x, expected)
    assert final.level == schedule.last + 1
    torch.testing.assert_close(final.x, final.prediction.noise)


def test_encoding_takes_an_image_as_x_1():
    schedule, x_0, calls = cosine(8), normal((2, 1, 2, 2), 0), []

    def recorded(x_t, level):
        calls.append((x_t, level))
        return DATA.denoise(schedule)(x_t, level)

    list(encode(recorded, x_0, schedule))
    assert torch.equal(calls[0][0], x_0)
    assert [level for _, level in calls] == list(range(1, schedule.last + 1))


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_eta_beyond_its_range_is_refused(eta):
    with pytest.raises(ValueError, match="eta must be"):
        DDIM(eta=eta)
