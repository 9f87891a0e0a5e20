"""denoise, noise -> image: DDIM, guided by the paper's Algorithm 2; image -> noise: its inverse."""

from collections.abc import Iterator

import torch
from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.diffusion.prediction import Restrain
from adm.diffusion.process import noise_from_x_0
from adm.guidance.gradients import Gradient, shift_noise
from adm.samplers.state import Noise, State


def ddim(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    noise: Noise,
    gradient: Gradient | None = None,
    eta: float = 0.0,
    restrain_again: Restrain | None = None,
) -> Iterator[State]:
    """Step along the estimate of x_0 (Song et al. 2021, equation 12; guided, Algorithm 2).

    Args:
        x: (B, C, H, W) pure noise.
        noise: asked once a level, although eta = 0 uses none.
        gradient: of log p(y | x_t).
        eta: from 0, deterministic, to 1, as much fresh noise as ancestral sampling.
        restrain_again: applied to x_0 after guidance, such as `clip`; the released system
            does not.

    Raises:
        ValueError: eta outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    stdev = eta * schedule.posterior_variance.sqrt()
    for t in range(schedule.last, 0, -1):
        p = denoise(x, t)
        if gradient is not None:
            p = shift_noise(p, gradient(x, t), schedule, x, t)
        if restrain_again is not None:
            x_0 = restrain_again(p.x_0)
            p = p._replace(x_0=x_0, noise=noise_from_x_0(schedule, x, x_0, t))
        drawn = noise(t)
        towards = (1 - schedule.alpha_bar[t - 1] - stdev[t] ** 2).clamp(min=0).sqrt()
        x = schedule.signal[t - 1].to(x) * p.x_0 + towards.to(x) * p.noise
        x = x + stdev[t].to(x) * drawn if t > 1 else x
        yield State(x, t - 1, p)


def encode(denoise: Denoise, x: Tensor, schedule: Schedule) -> Iterator[State]:
    """Run DDIM at eta = 0 upwards: the noise that it would turn into this image.

    The image is taken to be at level 1 already, and the last step goes past level T to pure noise
    (alpha_bar = 0), from which sampling starts. The law is an ODE's: encoding and sampling undo
    each other up to an error that falls with the number of steps.

    Args:
        x: (B, C, H, W) images in [-1, 1].
    """
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    signal, sigma = torch.cat([schedule.signal, zero]), torch.cat([schedule.sigma, one])
    for t in range(1, schedule.last + 1):
        p = denoise(x, t)
        x = signal[t + 1].to(x) * p.x_0 + sigma[t + 1].to(x) * p.noise
        yield State(x, t + 1, p)
