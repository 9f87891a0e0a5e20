"""the oracle -> itself: what the other laws rest on, by autograd and by sampling."""

from dataclasses import replace

import pytest
import torch
from oracle import four_modes, mean_of, normal, one_gaussian, seeded

from adm.diffusion import cosine, process

SCHEDULE = cosine(50)
LEVELS = torch.tensor([1, 7, 25, 50, 49, 2])
LABEL = torch.tensor([0, 1, 2, 1, 0, 2])


def noisy() -> torch.Tensor:
    x_0, _ = four_modes().sample(6, seeded(0))
    return process.diffuse(SCHEDULE, x_0, normal((6, 1, 2, 2), 1), LEVELS)


@pytest.mark.parametrize("label", [None, LABEL], ids=["any", "conditional"])
def test_the_score_is_the_gradient_of_the_log_density(label):
    x = noisy().requires_grad_()
    four_modes().log_density(SCHEDULE, x, LEVELS, label).sum().backward()
    alpha_bar = SCHEDULE.alpha_bar[LEVELS][:, None]
    torch.testing.assert_close(four_modes().score(x.detach(), alpha_bar, label), x.grad)


def test_its_noise_and_x_0_make_up_x_t():
    p = four_modes().denoise(SCHEDULE)(noisy(), LEVELS)
    torch.testing.assert_close(process.diffuse(SCHEDULE, p.x_0, p.noise, LEVELS), noisy())


def test_the_mean_of_its_step_follows_from_its_x_0():
    """E[x_(t-1) | x_t] is linear in E[x_0 | x_t]: the mean that a sampler derives is exact."""
    mixture = four_modes()
    p = mixture.denoise(SCHEDULE)(noisy(), LEVELS)
    now, before = (SCHEDULE.alpha_bar[levels][:, None] for levels in (LEVELS, LEVELS - 1))
    exact = mixture.earlier(noisy(), now, before).mean
    torch.testing.assert_close(mean_of(SCHEDULE, p, noisy(), LEVELS), exact)


def test_its_gradient_is_that_of_its_logits():
    x = noisy().requires_grad_()
    log_p = four_modes().logits(SCHEDULE, x, LEVELS).log_softmax(1)
    log_p.gather(1, LABEL[:, None]).sum().backward()
    torch.testing.assert_close(
        four_modes().gradient(SCHEDULE, LABEL)(x.detach(), LEVELS, None), x.grad
    )


@pytest.mark.parametrize("level", [1, 10, 40])
def test_its_step_has_the_moments_of_importance_sampling(level):
    """Bayes' rule by brute force: x_(t-1) drawn from q, weighed by q(x_t | x_(t-1))."""
    mixture, n = four_modes(), 400_000
    x_t = noisy()[:1]
    x_0, _ = mixture.sample(n, seeded(2))
    drawn = process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 3), level - 1)
    beta = SCHEDULE.beta[level]
    misfit = ((x_t - (1 - beta).sqrt() * drawn) ** 2).flatten(1).sum(1)
    weight = (-0.5 * misfit / beta).softmax(0)[:, None]
    mean = (weight * drawn.flatten(1)).sum(0)
    variance = (weight * (drawn.flatten(1) - mean) ** 2).sum(0)
    p = mixture.denoise(SCHEDULE)(x_t, level)
    error = (variance / (1 / (weight**2).sum())).sqrt()  # standard error at the effective size
    assert ((mean_of(SCHEDULE, p, x_t, level).flatten() - mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(p.variance.value.flatten(), variance, rtol=0.3, atol=0)


def test_the_probabilities_of_all_8_bit_values_of_a_pixel_sum_to_1():
    mixture = four_modes()
    pixel = replace(mixture, means=mixture.means[:, :, :1, :1])
    values = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close((2 ** -pixel.bits(values)).sum(), torch.ones(()).double())


def test_samples_have_its_moments():
    for mixture in (four_modes(), one_gaussian(0.2)):
        x_0, label = mixture.sample(100_000, seeded(4))
        x = x_0.flatten(1)
        assert (x.mean(0) - mixture.mean).abs().max() < 4.5 * (x.var(0) / len(x)).sqrt().max()
        torch.testing.assert_close(x.T.cov(), mixture.covariance, rtol=0, atol=0.01)
        shares = label.bincount(minlength=mixture.classes) / len(label)
        torch.testing.assert_close(shares.double(), mixture.class_weights, rtol=0, atol=0.01)
