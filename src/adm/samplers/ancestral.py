"""Denoise, x_T, Schedule, Noise, Gradient -> Iterator[State]: the paper's Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, clip, process
from adm.guidance import Gradient, evaluate, shifted
from adm.samplers.sampler import Sampler
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """Ancestral sampling (DDPM, Algorithm 2; guided, Algorithm 1 of the paper).

    Attributes:
        at_mean: evaluate the gradient at the mean of x_(t-1), as in the paper's derivation, rather
            than at x_t, as in the released system.
    """

    at_mean: bool = False
    name: ClassVar[str] = "ancestral"
    draws: ClassVar[bool] = True

    @property
    def random(self) -> bool:
        return True

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        """Draw each x_(t-1) from p(x_(t-1) | x_t) with its mean shifted by variance x gradient.

        Noise is evaluated once per level, level 1 included, although the last step adds none.

        Yields:
            State after every step. Its prediction is shifted by the gradient as in Algorithm 2, so
            that `prediction.x_0` is the guided estimate.
        """
        for t in range(schedule.last, 0, -1):
            if gradient is None:
                p = denoise(x, t)
                mean = process.posterior(schedule, p.x_0, x, t).mean
            elif self.at_mean:
                p = denoise(x, t)
                mean = process.posterior(schedule, p.x_0, x, t).mean
                # Noisy classifiers are not trained at level 0; level 1 is closest to it.
                pull = gradient(mean, max(t - 1, 1), p)
                p, mean = shifted(p, pull, schedule, x, t), mean + p.variance.value * pull
            else:
                p, pull = evaluate(denoise, gradient, x, t)
                mean = process.posterior(schedule, p.x_0, x, t).mean + p.variance.value * pull
                p = shifted(p, pull, schedule, x, t)
            drawn = noise(t)
            x = mean + torch.exp(0.5 * p.variance.log) * drawn if t > 1 else mean
            yield State(x, t - 1, p)
