"""Denoise, Schedule, x_0 -> Likelihood, FlowLikelihood: bits per dimension and their terms.

There are two estimates, both of whose expectations are above the bits of an ideal code: the
variational bound of the stochastic sampler, and the likelihood by the probability-flow ODE, the
limit of the deterministic ones.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.prediction import Denoise, Prediction
from adm.diffusion.schedule import Level, Schedule

HALF_BIN = 1 / 255  # half the distance of adjacent values of the 256 in [-1, 1]


class Levels(NamedTuple):
    """L levels whose terms are evaluated, the noisiest first.

    Attributes:
        level: (L,) int64, the same for all images; or (B, L).
        weight: (L,) float64, the number of levels for which each stands in the sum of the terms.
    """

    level: Tensor
    weight: Tensor


class Likelihood(NamedTuple):
    """Bits per dimension and its terms; column 0 of a (B, L) array is the noisiest level.

    Attributes:
        total: (B,) the bound, the weighted sum of the terms and the prior, in bits per dimension.
        terms: (B, L) the variational term of each level, in bits per dimension.
        prior: (B,) divergence of q(x_T | x_0) from pure noise, in bits per dimension.
        x_0_mse: (B, L) mean squared error of the estimate of x_0.
        noise_mse: (B, L) mean squared error of the predicted noise.
    """

    total: Tensor
    terms: Tensor
    prior: Tensor
    x_0_mse: Tensor
    noise_mse: Tensor


class FlowLikelihood(NamedTuple):
    """Bits per dimension by the ODE, and its terms; column 0 of (B, T) is the noisiest level.

    Attributes:
        total: (B,) the sum of all terms and the prior, in bits per dimension.
        terms: (B, T) the share of each level in the integral of the divergence, in bits per
            dimension: negative, since noise spreads.
        prior: (B,) bits per dimension of x_T / signal under pure noise, in bins of 8-bit pixels.
        trace: (B, T) the divergence itself, per dimension: the share of the dimensions along which
            x_t moves as noise does.
        by_probe: (K, B) `total` by each of K probes, whose mean it is.
    """

    total: Tensor
    terms: Tensor
    prior: Tensor
    trace: Tensor
    by_probe: Tensor


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


def every_level(last: int) -> Levels:
    """Return all levels of a process with T = `last`, each of which stands for itself."""
    return Levels(torch.arange(last, 0, -1), torch.ones(last, dtype=torch.float64))


def draw_levels(last: int, uniform: Tensor) -> Levels:
    """Draw L levels for each image, which give an unbiased estimate of the sum of all terms.

    Level 1, the decoder, is always one of them. The others are divided into L - 1 strata, whose
    widths grow with the level as the terms fall, and one level of each is drawn evenly. With
    L = T these are all levels.

    Args:
        last: T, at least 2.
        uniform: (B, L) in [0, 1], L from 2 to T, on the CPU.
    """
    count = uniform.shape[1]
    ends = [
        max(i, 1 + round((last - 1) * ((i - 1) / (count - 1)) ** 2)) for i in range(1, count + 1)
    ]
    below = torch.tensor([0, *ends[:-1]]).flip(0)
    width = torch.tensor(ends).flip(0) - below
    within = (uniform.double() * width).long().minimum(width - 1)
    return Levels(below + 1 + within, width.double())


def bits_per_dimension(
    denoise: Denoise,
    schedule: Schedule,
    x_0: Tensor,
    noise: Callable[[Level], Tensor],
    levels: Levels | None = None,
) -> Likelihood:
    """Evaluate the variational bound, from the noisiest level to level 1.

    Args:
        x_0: (B, C, H, W) 8-bit pixels mapped to [-1, 1].
        noise: level -> (B, C, H, W) standard normal.
        levels: those whose terms are evaluated, by default all. `total` is an unbiased estimate of
            the whole for those of `draw_levels`; with any others it is the sum by their weights.
    """
    chosen = every_level(schedule.last) if levels is None else levels
    terms: list[Tensor] = []
    x_0_mse: list[Tensor] = []
    noise_mse: list[Tensor] = []
    for column in chosen.level.unbind(-1):
        level = column if column.dim() else int(column)
        drawn = noise(level)
        x_t = process.diffuse(schedule, x_0, drawn, level)
        prediction = denoise(x_t, level)
        terms.append(variational_term(schedule, prediction, x_0, x_t, level))
        x_0_mse.append(per_image((prediction.x_0 - x_0) ** 2))
        noise_mse.append(per_image((prediction.noise - drawn) ** 2))
    prior, stacked = prior_term(schedule, x_0), torch.stack(terms, dim=1)
    total = (_like(stacked, chosen.weight) * stacked).sum(dim=1) + prior
    return Likelihood(total, stacked, prior, torch.stack(x_0_mse, 1), torch.stack(noise_mse, 1))


def dequantize(x_0: Tensor, uniform: Tensor) -> Tensor:
    """Spread 8-bit pixels evenly over their bins, which have width 2 / 255.

    The density of the result is, in expectation, at most the probability of the pixels
    (Theis et al. 2016, section 3.1).

    Args:
        x_0: (B, C, H, W) 8-bit pixels mapped to [-1, 1].
        uniform: of the same shape, in [0, 1].
    """
    return x_0 + HALF_BIN * (2 * uniform - 1)


@torch.inference_mode(False)
@torch.no_grad()
def flow_likelihood(
    denoise: Denoise, schedule: Schedule, x_0: Tensor, probe: Callable[[int], Tensor]
) -> FlowLikelihood:
    """Follow the probability-flow ODE from level 1 to T (Song et al. 2021, section 4.3).

    With y = x_t / signal and ratio = sigma / signal the ODE is dy / d ratio = noise(x_t), and
    log p(y) falls along it by the divergence of the noise with respect to y. Heun's steps are in
    the ratio, in which noise grows linearly. The divergence is integrated by the trapezoid rule in
    the log of the ratio, in which it is sigma times the trace of d noise / d x_t, from 0 where x_t
    is all image to C H W where it is all noise. Both errors fall with the square of the step.

    The density is that of y at level 1, images with the noise that the network was trained to
    remove last: `x_0` is taken as such an image, and no noise is added to it.

    Args:
        denoise: differentiable, and without a threshold, which has no slope.
        schedule: whose levels are visited.
        x_0: (B, C, H, W), as `dequantize` returns.
        probe: level -> (K, B, C, H, W), K independent draws of mean 0 and covariance 1, such as
            random signs; v J v of each is an unbiased estimate of the trace of J (Hutchinson 1989).
    """
    signal, ratio = schedule.signal, schedule.noise_to_signal
    log_ratio = -0.5 * schedule.log_snr[1:]
    ends = torch.cat([log_ratio[:1], log_ratio, log_ratio[-1:]])
    traces: list[Tensor] = []
    y = x_0
    for t in range(1, schedule.last + 1):
        noise, slopes = _noise_and_slopes(denoise, float(signal[t]) * y, t, probe(t))
        traces.append(float(schedule.sigma[t]) * slopes)
        if t < schedule.last:
            width = float(ratio[t + 1] - ratio[t])
            ahead = denoise(float(signal[t + 1]) * (y + width * noise), t + 1).noise
            y = y + width / 2 * (noise + ahead)
    trace = torch.stack(traces[::-1], dim=2)  # (K, B, T)
    widths = (ends[2:] - ends[:-2]).flip(0) / 2
    terms = -_like(trace, widths) * trace / math.log(2)
    nats = 0.5 * per_image((float(signal[-1]) * y) ** 2) + 0.5 * math.log(2 * math.pi)
    prior = (nats - math.log(float(signal[-1])) - math.log(2 * HALF_BIN)) / math.log(2)
    by_probe = terms.sum(dim=2) + prior
    return FlowLikelihood(by_probe.mean(0), terms.mean(0), prior, trace.mean(0), by_probe)


def _like(other: Tensor, values: Tensor) -> Tensor:
    """Return float64 values in the dtype and on the device of another tensor."""
    return values.to(other.dtype).to(other.device)  # in this order: not all have float64


def _noise_and_slopes(
    denoise: Denoise, x_t: Tensor, level: int, probes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the noise, and (K, B) the mean over dimensions of v J v for each of K probes v."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        noise = denoise(x, level).noise
        slopes = [
            per_image(torch.autograd.grad(noise, x, v, retain_graph=True)[0] * v) for v in probes
        ]
    return noise.detach(), torch.stack(slopes)
