"""Prior, Measurement -> Iterator[State]: plug-and-play restoration, DiffPIR (Zhu et al. 2023)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import process
from adm.restoration.measurement import Measurement
from adm.restoration.method import Method, Prior
from adm.samplers import Noise, Sampler, State


@dataclass(frozen=True, kw_only=True)
class DiffPIR(Method):
    """Denoising diffusion models for plug-and-play image restoration (Zhu et al. 2023).

    At every level the estimate is replaced by the minimum of |y - A x|^2 / (2 sigma_y^2) +
    weight |x - x_0|^2 / (2 rho^2), where rho = sigma / signal is the noise of the level. The next
    level has the noise of this estimate and fresh noise.

    Attributes:
        weight: of the model against the measurement, lambda of the paper.
        fresh: share of the variance of the noise that is drawn anew, zeta of the paper.
    """

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 7.0
    fresh: Annotated[float, Field(ge=0, le=1)] = 0.3
    name: ClassVar[str] = "diffpir"

    def sample(
        self, prior: Prior, measurement: Measurement, x: Tensor, noise: Noise, sampler: Sampler
    ) -> Iterator[State]:
        schedule, denoise = prior.schedule, prior.guided_denoiser()
        signal, sigma = schedule.signal.tolist(), schedule.sigma.tolist()
        for t in range(schedule.last, 0, -1):
            p = denoise(x, t)
            ridge = self.weight * measurement.variance * (signal[t] / sigma[t]) ** 2
            x_0 = measurement.correct(p.x_0, ridge)
            implied = process.noise_from_x_0(schedule, x, x_0, t)
            drawn = noise(t)
            mixed = (1 - self.fresh) ** 0.5 * implied + self.fresh**0.5 * drawn
            x = signal[t - 1] * x_0 + sigma[t - 1] * mixed
            yield State(x, t - 1, p)
