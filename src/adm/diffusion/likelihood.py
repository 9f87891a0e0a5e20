"""Denoise, Schedule, x_0 -> Likelihood: bits per dimension and its terms."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.prediction import Denoise, Prediction
from adm.diffusion.schedule import Level, Schedule

HALF_BIN = 1 / 255  # half the distance of adjacent values of the 256 in [-1, 1]


class Likelihood(NamedTuple):
    """Bits per dimension and its terms; column 0 of a (B, T) array is the noisiest level.

    Attributes:
        total: (B,) the bound, the sum of all terms and the prior, in bits per dimension.
        terms: (B, T) the variational term of each level, in bits per dimension.
        prior: (B,) divergence of q(x_T | x_0) from pure noise, in bits per dimension.
        x_0_mse: (B, T) mean squared error of the estimate of x_0.
        noise_mse: (B, T) mean squared error of the predicted noise.
    """

    total: Tensor
    terms: Tensor
    prior: Tensor
    x_0_mse: Tensor
    noise_mse: Tensor


def per_image(values: Tensor) -> Tensor:
    """(B, ...) -> (B,), the mean of each image."""
    return values.flatten(1).mean(dim=1)


def kl(mean: Tensor, log_variance: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """Return the KL divergence between two normal distributions, elementwise, in nats."""
    ratio = log_variance_2 - log_variance
    squared = (mean - mean_2) ** 2 * torch.exp(-log_variance_2)
    return 0.5 * (-1.0 + ratio + torch.exp(-ratio) + squared)


def approximate_normal_cdf(x: Tensor) -> Tensor:
    """Approximate the normal CDF by a tanh (Page 1977), with an error of at most 0.0002."""
    return 0.5 * (1.0 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def binned_log_likelihood(x_0: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log-probability of 8-bit pixels under a normal distribution, in nats.

    DDPM, equation 13. Each of the 256 values is a bin; the first and the last extend to infinity.
    """
    centred, inverse = x_0 - mean, torch.exp(-log_scale)
    below = approximate_normal_cdf(inverse * (centred - HALF_BIN))
    up_to = approximate_normal_cdf(inverse * (centred + HALF_BIN))

    def log(probability: Tensor) -> Tensor:
        return probability.clamp(min=1e-12).log()

    inside = torch.where(x_0 > 0.999, log(1 - below), log(up_to - below))
    return torch.where(x_0 < -0.999, log(up_to), inside)


def variational_term(
    schedule: Schedule, prediction: Prediction, x_0: Tensor, x_t: Tensor, level: Level
) -> Tensor:
    """Return one term of the bound (Improved DDPM, equations 4 to 6), (B,) bits per dimension.

    At level 1 it is the negative log-likelihood of the decoder, at other levels the divergence of
    the posterior from p(x_(t-1) | x_t).
    """
    true = process.posterior(schedule, x_0, x_t, level)
    mean = process.posterior(schedule, prediction.x_0, x_t, level).mean
    log_variance = prediction.variance.log
    divergence = kl(true.mean, true.log_variance, mean, log_variance)
    decoder = -binned_log_likelihood(x_0, mean, 0.5 * log_variance)
    first = torch.as_tensor(level, device=x_0.device).expand(len(x_0)) == 1
    return torch.where(first, per_image(decoder), per_image(divergence)) / math.log(2)


def prior_term(schedule: Schedule, x_0: Tensor) -> Tensor:
    """Return the divergence of q(x_T | x_0) from pure noise, (B,) bits per dimension."""
    end = process.marginal(schedule, x_0, schedule.last)
    zero = torch.zeros_like(end.mean)
    return per_image(kl(end.mean, end.log_variance, zero, zero)) / math.log(2)


def bits_per_dimension(
    denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: Callable[[int], Tensor]
) -> Likelihood:
    """Evaluate the variational bound, from the noisiest level to level 1.

    Args:
        x_0: (B, C, H, W) 8-bit pixels mapped to [-1, 1].
        noise: level -> (B, C, H, W) standard normal.
    """
    terms: list[Tensor] = []
    x_0_mse: list[Tensor] = []
    noise_mse: list[Tensor] = []
    for level in range(schedule.last, 0, -1):
        drawn = noise(level)
        x_t = process.diffuse(schedule, x_0, drawn, level)
        prediction = denoise(x_t, level)
        terms.append(variational_term(schedule, prediction, x_0, x_t, level))
        x_0_mse.append(per_image((prediction.x_0 - x_0) ** 2))
        noise_mse.append(per_image((prediction.noise - drawn) ** 2))
    prior, stacked = prior_term(schedule, x_0), torch.stack(terms, dim=1)
    total = stacked.sum(dim=1) + prior
    return Likelihood(total, stacked, prior, torch.stack(x_0_mse, 1), torch.stack(noise_mse, 1))
