"""Prior, Measurement -> Iterator[State]: decoupled annealing, DAPS (Zhang et al. 2024)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Prediction, Schedule
from adm.restoration.measurement import Measurement, noise_like
from adm.restoration.method import Method, Prior
from adm.restoration.pgdm import Variance, spread
from adm.samplers import Noise, Sampler, State

FIRST = 1  # draw of the noise of y; draw 0 is the noise of the next level


@dataclass(frozen=True, kw_only=True)
class DAPS(Method):
    """Decoupled annealing posterior sampling (Zhang et al. 2024): any measurement.

    At every level x_0 is drawn from p(x_0 | x_t, y), and noised to the next level independently of
    x_t. p(x_0 | x_t) is taken to be normal around the end of the ODE from x_t. With a linear
    measurement the product with p(y | x_0) is normal as well, and sampled exactly; otherwise by
    Langevin dynamics.

    The paper's standard deviation of p(x_0 | x_t) is sigma / signal, which at high noise exceeds
    what Langevin dynamics reach; here it is bounded (see `spread`).

    Attributes:
        ode: steps of the ODE from each level.
        variance: largest variance of p(x_0 | x_t); more vary the images more, and leave noise.
        langevin: steps of Langevin dynamics, if the measurement is not linear.
        rate: their size, of that at which a unitary measurement becomes unstable.
    """

    ode: Annotated[int, Field(ge=1, le=1000)] = 5
    variance: Variance = 0.01
    langevin: Annotated[int, Field(ge=1, le=10_000)] = 50
    rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    name: ClassVar[str] = "daps"
    linear: ClassVar[bool] = False
    cure: ClassVar[str] = "give a smaller {method=daps:rate}"

    def calls(self, sampler: Sampler, steps: int) -> int:
        return sum(len(self.below(level)) for level in range(1, steps + 1))

    def below(self, level: int) -> list[int]:
        """Return the levels at which the ODE from a level is evaluated, descending."""
        count = min(self.ode, level)
        return [level - number * level // count for number in range(count)]

    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        schedule, denoise = prior.schedule, prior.guided_denoiser()
        for t in range(schedule.last, 0, -1):
            p = self._solve(denoise, schedule, x, t)
            x_0 = self._draw(p.x_0, spread(schedule, t, self.variance), measurement, noise, t)
            signal, sigma = float(schedule.signal[t - 1]), float(schedule.sigma[t - 1])
            x = signal * x_0 + sigma * noise(t)
            yield State(x, t - 1, p)

    def _solve(self, denoise: Denoise, schedule: Schedule, x: Tensor, level: int) -> Prediction:
        """Return the prediction of the last step of DDIM from x_t to x_0."""
        levels = self.below(level)
        p = denoise(x, level)
        for to in levels[1:]:
            x = float(schedule.signal[to]) * p.x_0 + float(schedule.sigma[to]) * p.noise
            p = denoise(x, to)
        return p

    def _draw(
        self, x_0: Tensor, variance: float, measurement: Measurement, noise: Noise, level: int
    ) -> Tensor:
        """Draw from the product of N(x_0, variance) and p(y | x_0)."""
        image = x_0.shape[1:]
        if measurement.adjoint is not None:
            # The mode for a draw from the model and a draw from the noise of y is such a sample.
            error = noise_like(measurement.y, noise, level, FIRST + 1, image)
            other = replace(measurement, y=measurement.y + measurement.variance**0.5 * error)
            start = x_0 + variance**0.5 * noise(level, FIRST)
            return other.correct(start, measurement.variance / variance)
        step = self.rate / (1 / variance + 1 / measurement.variance)
        x = x_0
        for number in range(self.langevin):
            slope = (x - x_0) / variance + _slope(measurement, x)
            x = x - step * slope + (2 * step) ** 0.5 * noise(level, FIRST + number)
        return x


def _slope(measurement: Measurement, x_0: Tensor) -> Tensor:
    """Return the gradient of |y - forward(x_0)|^2 / (2 sigma^2)."""
    with torch.enable_grad():
        x = x_0.detach().requires_grad_()
        square = measurement.residual(x).square().sum() / (2 * measurement.variance)
        return torch.autograd.grad(square, x)[0]
