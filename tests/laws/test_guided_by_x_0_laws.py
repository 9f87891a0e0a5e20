"""Classifier of clean images, estimate of x_0 -> Gradient; reuse and intervals of guidance."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from oracle import Mixture, four_modes, last, normal, rms, seeded

from adm.diffusion import clip, cosine, process
from adm.guidance import (
    clean_gradient,
    evaluate,
    every,
    folded,
    scaled,
    thresholded,
)
from adm.samplers import DDIM, ClassifierGuide

DATA, SCHEDULE = four_modes(), cosine(1000)
LABEL = torch.arange(9) % DATA.classes


def exact_logits(x_0):
    """The ideal classifier of clean images."""
    return DATA.logits(SCHEDULE, x_0, 0)


def noisy(level, data=DATA):
    x_0, _ = data.sample(len(LABEL), seeded(0))
    return process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), level)


def of_x_0(level, data=DATA, logits=exact_logits, **options):
    """The gradient through the estimate of x_0 by the ideal denoiser."""
    gradient = clean_gradient(logits, SCHEDULE, LABEL, **options)
    denoise = data.denoise(SCHEDULE)
    return evaluate(denoise, gradient, noisy(level, data), level)[1]


def relative(actual, expected):
    return rms(actual - expected) / rms(expected)


def exact(level):
    return DATA.gradient(SCHEDULE, LABEL)(noisy(level), level, None)


@pytest.mark.parametrize("through_network", [False, True])
def test_in_the_limit_of_low_noise_it_is_the_exact_gradient(through_network):
    errors = [
        relative(of_x_0(level, through_network=through_network), exact(level))
        for level in (40, 10, 3, 1)
    ]
    assert errors[-1] < 0.01
    assert all(b < 0.8 * a for a, b in pairwise(errors)), errors


def test_at_high_noise_it_is_too_sure_and_the_plain_chain_rule_far_more():
    """Even an exact classifier and Jacobian give a biased gradient; 1 / signal gives any length."""
    expected, by_network = rms(exact(800)), rms(of_x_0(800, through_network=True))
    by_signal = rms(of_x_0(800))
    at_constant_noise = by_signal / SCHEDULE.signal[800].item() ** 2
    assert 2 * expected < by_network < by_signal < at_constant_noise
    assert by_signal < 0.2 * at_constant_noise


def test_the_factor_is_the_jacobian_of_data_of_unit_variance():
    """There both ways agree at every level, for any classifier."""
    mean = torch.tensor([0.3, -0.2, 0.1, 0.05], dtype=torch.float64).reshape(1, 1, 2, 2)
    one = torch.ones(1, dtype=torch.float64)
    data = Mixture(mean, one, one, torch.zeros(1, dtype=torch.int64))
    for level in (1, 300, 900):
        cheap, through = (of_x_0(level, data, through_network=through) for through in (False, True))
        torch.testing.assert_close(cheap.double(), through.double(), rtol=1e-5, atol=1e-7)
        assert rms(cheap) > 0


def test_through_the_network_it_is_the_derivative_by_hand():
    x = noisy(300).requires_grad_()
    x_0 = DATA.denoise(SCHEDULE)(x, 300).x_0
    log_p = exact_logits(x_0).float().log_softmax(1).gather(1, LABEL[:, None]).sum()
    by_hand = torch.autograd.grad(log_p, x)[0]
    actual = of_x_0(300, through_network=True)
    torch.testing.assert_close(actual, by_hand, rtol=1e-5, atol=1e-6)


def test_an_estimate_that_is_clipped_has_no_gradient_through_the_network():
    gradient = clean_gradient(exact_logits, SCHEDULE, LABEL, through_network=True)
    clipped = thresholded(DATA.denoise(SCHEDULE), lambda x: clip(1e9 * x), SCHEDULE)
    assert evaluate(clipped, gradient, noisy(1), 1)[1].abs().max() == 0


def test_a_gradient_of_the_estimate_does_not_depend_on_the_batch():
    x, denoise = noisy(100), DATA.denoise(SCHEDULE)
    for through in (False, True):
        whole = of_x_0(100, through_network=through)
        alone = clean_gradient(exact_logits, SCHEDULE, LABEL[3:4], through_network=through)
        actual = evaluate(denoise, alone, x[3:4], 100)[1]
        torch.testing.assert_close(actual, whole[3:4], rtol=1e-5, atol=1e-6)


@cache
def sampled(steps, *, scale=2.0, **fields):
    """DDIM of the mixture by its exact gradient, with settings of guidance; None for none."""
    levels = [round(i * 980 / steps) for i in range(1, steps + 1)]
    schedule, x = SCHEDULE.respaced(levels), normal((len(LABEL), 1, 2, 2), 5)
    term = ClassifierGuide(scale=scale, **fields)
    pull = term.apply(DATA.gradient(schedule, LABEL), levels)
    denoise = folded(DATA.denoise(schedule), pull, schedule)
    return last(DDIM()(denoise, x, schedule, lambda *_: torch.zeros_like(x)))


@pytest.mark.parametrize("count", [2, 4])
def test_the_error_of_reuse_falls_with_the_step(count):
    """In first order: twice the steps, about half the error."""
    errors = [rms(sampled(n, every=count) - sampled(n)) for n in (25, 50, 100)]
    assert errors[0] > 1e-3
    assert all(1.4 < a / b < 2.8 for a, b in pairwise(errors)), errors


def test_a_reused_gradient_is_multiplied_by_the_scale_of_the_level_that_it_is_used_at():
    def of_level(x_t, level, prediction):
        return torch.full_like(x_t, level)

    x, pull = torch.ones(1, 1, 1, 1), scaled(every(of_level, 2), lambda level: 10.0**level)
    assert [pull(x, level, None).item() for level in (4, 3, 2)] == [40000, 4000, 200]
