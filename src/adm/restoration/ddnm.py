"""Denoise, Measurement -> Denoise: the null-space model of diffusion, DDNM+ (Wang et al. 2023)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule, Variance
from adm.diffusion.process import posterior_coefficients
from adm.restoration.measurement import Measurement
from adm.restoration.method import Projection


@dataclass(frozen=True, kw_only=True)
class DDNM(Projection):
    """The denoising diffusion null-space model, DDNM+ (Wang et al. 2023).

    The estimate is replaced by x_0 + lambda A^+ (y - A x_0): what y says, and the model's estimate
    in the null space of A. The noise of y then enters x_(t-1), so that lambda is reduced where that
    would exceed the noise of the step (equation 17), and the step adds only what is missing.
    """

    name: ClassVar[str] = "ddnm"
    grid: ClassVar[str] = "even"
    sampler: ClassVar[str | None] = "ancestral"

    def denoiser(self, guided: Denoise, measurement: Measurement, schedule: Schedule) -> Denoise:
        to_x_0 = posterior_coefficients(schedule)[0]

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            assert isinstance(level, int)
            p = guided(x_t, level)
            entering = float(to_x_0[level]) * measurement.sigma  # with lambda = 1
            room = float(schedule.posterior_variance[level]) ** 0.5
            share = 1.0 if entering <= room else room / entering
            x_0 = p.x_0 + share * measurement.pull_back(measurement.residual(p.x_0), 0.0)
            value = (p.variance.value - (share * entering) ** 2).clamp(min=1e-20)
            return Prediction.from_x_0(schedule, x_t, level, x_0, Variance(value, value.log()))

        return denoise
