"""x_0, noise, level -> x_t; x_0, x_t, level -> Gaussian, the posterior of x_s for any s < t.

All images are (B, C, H, W) with x_0 in [-1, 1]. A level is one int for the batch or (B,) int64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from adm.diffusion.schedule import Level, Schedule, at


class Gaussian(NamedTuple):
    """A normal distribution over images; `variance` and `log_variance` broadcast to `mean`."""

    mean: Tensor
    variance: Tensor
    log_variance: Tensor


def diffuse(schedule: Schedule, x_0: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Return x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise (DDPM, equation 4)."""
    return at(schedule.signal, level, x_0) * x_0 + at(schedule.sigma, level, x_0) * noise


def marginal(schedule: Schedule, x_0: Tensor, level: Level) -> Gaussian:
    """Return q(x_t | x_0) (DDPM, equation 4)."""
    variance = at(1 - schedule.alpha_bar, level, x_0)
    log_variance = at((1 - schedule.alpha_bar).log(), level, x_0)
    return Gaussian(at(schedule.signal, level, x_0) * x_0, variance, log_variance)


def posterior(schedule: Schedule, x_0: Tensor, x_t: Tensor, level: Level) -> Gaussian:
    """Return q(x_(t-1) | x_t, x_0) (DDPM, equation 7), with log-variance clipped at level 1."""
    to_x_0, to_x_t = posterior_coefficients(schedule)
    return Gaussian(
        at(to_x_0, level, x_t) * x_0 + at(to_x_t, level, x_t) * x_t,
        at(schedule.posterior_variance, level, x_t),
        at(schedule.posterior_log_variance, level, x_t),
    )


def posterior_coefficients(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Return the (T + 1,) factors of x_0 and of x_t in the posterior mean; 1 and 0 at level 0."""
    before, now = schedule.alpha_bar[:-1], schedule.alpha_bar[1:]
    beta = schedule.beta[1:]
    to_x_0 = beta * before.sqrt() / (1 - now)
    to_x_t = (1 - before) * (1 - beta).sqrt() / (1 - now)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return torch.cat([one, to_x_0]), torch.cat([zero, to_x_t])


def x_0_from_noise(schedule: Schedule, x_t: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Solve x_t for x_0 (DDPM, equation 15)."""
    recip, ratio = schedule.per_signal, schedule.noise_to_signal
    return at(recip, level, x_t) * x_t - at(ratio, level, x_t) * noise


def noise_from_x_0(schedule: Schedule, x_t: Tensor, x_0: Tensor, level: Level) -> Tensor:
    """Solve x_t for the noise."""
    recip, ratio = schedule.per_signal, schedule.noise_to_signal
    return (at(recip, level, x_t) * x_t - x_0) / at(ratio, level, x_t)


def x_0_from_velocity(schedule: Schedule, x_t: Tensor, velocity: Tensor, level: Level) -> Tensor:
    """Return x_0 = signal x_t - sigma v (Salimans and Ho 2022, section 4)."""
    return at(schedule.signal, level, x_t) * x_t - at(schedule.sigma, level, x_t) * velocity


def velocity(schedule: Schedule, x_0: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Return v = signal noise - sigma x_0 (Salimans and Ho 2022, section 4)."""
    return at(schedule.signal, level, x_0) * noise - at(schedule.sigma, level, x_0) * x_0


def x_0_from_previous(schedule: Schedule, x_t: Tensor, previous: Tensor, level: Level) -> Tensor:
    """Solve the posterior mean for x_0, given `previous`, the mean of x_(t-1)."""
    to_x_0, to_x_t = posterior_coefficients(schedule)
    return at(1 / to_x_0, level, x_t) * previous - at(to_x_t / to_x_0, level, x_t) * x_t
