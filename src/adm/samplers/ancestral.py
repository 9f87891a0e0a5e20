"""denoise, noise -> image: ancestral sampling, guided by the paper's Algorithm 1."""

from collections.abc import Iterator

import torch
from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.guidance.gradients import Gradient, shift_mean
from adm.samplers.state import Noise, State


def ancestral(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    noise: Noise,
    gradient: Gradient | None = None,
    at_mean: bool = False,
) -> Iterator[State]:
    """Draw each x_(t-1) from p(x_(t-1) | x_t) (DDPM, Algorithm 2; guided, Algorithm 1).

    Args:
        x: (B, C, H, W) pure noise.
        noise: asked once a level, the last included, although the last step uses none.
        gradient: of log p(y | x_t).
        at_mean: take the gradient at the mean of x_(t-1), where the paper expands log p(y | x),
            and not at x_t, where the released system does.
    """
    for t in range(schedule.last, 0, -1):
        p = denoise(x, t)
        if gradient is not None:
            # Level 0 is not one that a noisy classifier knows; level 1 is all but the same.
            pull = gradient(p.mean, max(t - 1, 1)) if at_mean else gradient(x, t)
            p = shift_mean(p, pull)
        drawn = noise(t)
        x = p.mean + torch.exp(0.5 * p.log_variance) * drawn if t > 1 else p.mean
        yield State(x, t - 1, p)
