"""x_t, level -> gradient of log p(y | x_t), and where the two algorithms put it."""

from itertools import pairwise

import pytest
import torch
from oracle import by_angle, four_modes, normal, seeded
from torch import nn

from adm.diffusion import cosine, process
from adm.guidance.gradients import classifier_gradient, shift_mean, shift_noise

DATA, SCHEDULE = four_modes(), cosine(40)
LABEL = torch.tensor([0, 1, 2, 1, 0])


def noisy(level):
    x_0, _ = DATA.sample(len(LABEL), seeded(0))
    return process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), level)


def guide(label=LABEL, scale=1.0, schedule=SCHEDULE):
    return classifier_gradient(DATA.classifier(schedule), schedule, label, scale)


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.5, 8.0])
@pytest.mark.parametrize("level", [1, 20, 40])
def test_a_classifiers_gradient_is_the_closed_form_times_the_scale(level, scale):
    x_t = noisy(level)
    exact = DATA.gradient(SCHEDULE, LABEL, scale)(x_t, level)
    # The gradient is taken of float32 log-probabilities.
    found = guide(scale=scale)(x_t, level).double()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_each_image_may_have_a_level_of_its_own():
    levels = torch.tensor([1, 40, 7, 20, 2])
    found = guide()(noisy(levels), levels).double()
    exact = DATA.gradient(SCHEDULE, LABEL)(noisy(levels), levels)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_a_gradient_does_not_depend_on_the_batch():
    x_t = noisy(10)
    together = guide()(x_t, 10)
    assert together.abs().max() > 0.1
    for i in range(len(LABEL)):
        alone = guide(LABEL[i : i + 1])(x_t[i : i + 1], 10)
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-6, atol=1e-7)


def test_the_classifier_hears_original_steps_after_respacing():
    respaced = SCHEDULE.respaced([3, 10, 40])
    x_t = noisy(10)
    torch.testing.assert_close(guide(schedule=respaced)(x_t, 2), guide()(x_t, 10))


def test_a_gradient_is_had_without_autograd_around_it_and_from_frozen_parameters():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    network.requires_grad_(False)
    x = noisy(10).float()
    gradient = classifier_gradient(lambda x_t, step: network(x_t), SCHEDULE, LABEL, 2.0)
    with torch.no_grad():
        found = gradient(x, 10)
    assert not found.requires_grad
    assert (found.flatten(1).abs().amax(1) > 0).all()
    thawed = network.requires_grad_(True)
    torch.testing.assert_close(gradient(x, 10), found)
    assert all(p.grad is None for p in thawed.parameters()), "nothing is left on the parameters"


def test_the_image_given_is_left_as_it_was():
    x_t = noisy(10)
    guide()(x_t, 10)
    assert not x_t.requires_grad
    assert x_t.grad is None


def test_algorithm_1_moves_the_mean_alone_by_variance_times_gradient():
    x_t = noisy(10)
    p, pull = DATA.denoise(SCHEDULE)(x_t, 10), normal(tuple(x_t.shape), 2)
    moved = shift_mean(p, pull)
    torch.testing.assert_close(moved.mean, p.mean + p.variance * pull)
    assert moved._replace(mean=p.mean) == p


def test_algorithm_2_with_the_exact_gradient_is_the_conditional_model():
    for level in (1, 10, 40):
        x_t = noisy(level)
        p = DATA.denoise(SCHEDULE)(x_t, level)
        pull = DATA.gradient(SCHEDULE, LABEL)(x_t, level)
        moved = shift_noise(p, pull, SCHEDULE, x_t, level)
        conditional = DATA.denoise(SCHEDULE, LABEL)(x_t, level)
        torch.testing.assert_close(moved.noise, conditional.noise)
        torch.testing.assert_close(moved.x_0, conditional.x_0, rtol=0, atol=1e-9)


def test_the_two_shifts_agree_in_the_limit_of_many_steps():
    """At one noise level, their difference relative to the shift halves as the steps double."""
    differences = []
    for steps in (25, 50, 100, 200):
        schedule, level = by_angle(steps, first=1.5 / steps), steps // 2
        x_0, _ = DATA.sample(5, seeded(0))
        x_t = process.diffuse(schedule, x_0, normal((5, 1, 2, 2), 1), level)
        p = DATA.denoise(schedule)(x_t, level)
        pull = DATA.gradient(schedule, LABEL)(x_t, level)
        first = shift_mean(p, pull).mean - p.mean
        x_0_moved = shift_noise(p, pull, schedule, x_t, level).x_0
        second = process.posterior(schedule, x_0_moved, x_t, level).mean - p.mean
        differences.append(((first - second).norm() / second.norm()).item())
    ratios = [a / b for a, b in pairwise(differences)]
    assert differences[0] > 0.05
    assert all(1.7 < ratio < 2.3 for ratio in ratios), differences


def test_algorithm_2_moves_the_mean_by_the_steps_noise():
    """Read as a shift of the mean, it is beta / sqrt(1 - beta) x gradient, exactly."""
    x_t, level = noisy(15), 15
    p, pull = DATA.denoise(SCHEDULE)(x_t, level), normal(tuple(x_t.shape), 2)
    x_0 = shift_noise(p, pull, SCHEDULE, x_t, level).x_0
    moved = process.posterior(SCHEDULE, x_0, x_t, level).mean
    beta = SCHEDULE.beta[level]
    torch.testing.assert_close(moved - p.mean, beta / (1 - beta).sqrt() * pull)
