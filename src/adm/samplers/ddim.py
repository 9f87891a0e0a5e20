"""Denoise, x_T, Schedule, Noise -> Iterator[State]; Denoise, x_0 -> Iterator[State] to x_T."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.diffusion.schedule import at
from adm.samplers.sampler import Stochastic
from adm.samplers.solver import Solver
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class DDIM(Stochastic, Solver):
    """DDIM (Song et al. 2021; guided, Algorithm 2 of the paper).

    Attributes:
        eta: noise added at each step, from 0 (deterministic) to 1 (as in ancestral sampling), as a
            part of the standard deviation of the posterior.
        clip_again: apply the threshold after guidance as well; the released system does not.
    """

    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_again: bool = False
    name: ClassVar[str] = "ddim"

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Sample with DDIM (Song et al. 2021, equation 12).

        Noise is evaluated once per level, although eta = 0 does not use it.
        """
        etas = torch.tensor(self.etas(schedule.last), dtype=torch.float64)
        stdev = etas * schedule.posterior_variance.sqrt()
        for t in range(schedule.last, 0, -1):
            p = denoise(x, t)
            drawn = noise(t)
            towards = (1 - schedule.alpha_bar[t - 1] - stdev[t] ** 2).clamp(min=0).sqrt()
            x = at(schedule.signal, t - 1, x) * p.x_0 + towards.to(x.dtype) * p.noise
            x = x + at(stdev, t, x) * drawn if t > 1 else x
            yield State(x, t - 1, p)


def encode(denoise: Denoise, x: Tensor, schedule: Schedule) -> Iterator[State]:
    """Run DDIM at eta = 0 in reverse: from an image to the noise from which DDIM samples it.

    The image is taken as x_1, and the last step goes beyond level T to pure noise (alpha_bar = 0),
    from which sampling starts. As for any ODE solver, encoding and sampling are inverse up to an
    error that falls with the number of steps.

    Args:
        x: (B, C, H, W) images in [-1, 1].

    Yields:
        State after every step; `level` of the last one is T + 1.
    """
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    signal, sigma = torch.cat([schedule.signal, zero]), torch.cat([schedule.sigma, one])
    for t in range(1, schedule.last + 1):
        p = denoise(x, t)
        x = at(signal, t + 1, x) * p.x_0 + at(sigma, t + 1, x) * p.noise
        yield State(x, t + 1, p)
