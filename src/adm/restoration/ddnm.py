"""Denoise, Measurement -> Denoise: the null-space model of diffusion, DDNM+ (Wang et al. 2023)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule
from adm.diffusion.process import posterior_coefficients
from adm.restoration.measurement import Measurement
from adm.restoration.method import Projection


@dataclass(frozen=True, kw_only=True)
class DDNM(Projection):
    """The denoising diffusion null-space model, DDNM+ (Wang et al. 2023).

    The estimate is replaced by x_0 + A^+ (y - A x_0): what y says, and the model's estimate in the
    null space of A. The noise of y then enters x_(t-1), and must not exceed the noise of the step.
    The paper scales the correction by singular values (equation 17). Here a ridge of (noise that
    enters / noise of the step)^2 in the pseudo-inverse does that to every operator: along a
    singular vector at most half of the step's standard deviation enters.
    """

    name: ClassVar[str] = "ddnm"
    grid: ClassVar[str] = "even"
    sampler: ClassVar[str | None] = "ancestral"

    def denoiser(self, guided: Denoise, measurement: Measurement, schedule: Schedule) -> Denoise:
        entering = posterior_coefficients(schedule)[0] * measurement.sigma
        ridge = (entering**2 / schedule.posterior_variance).tolist()  # infinite at level 1

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            assert isinstance(level, int)
            p = guided(x_t, level)
            if measurement.sigma and level == 1:  # whose step has no noise
                return p
            x_0 = measurement.correct(p.x_0, ridge[level] if measurement.sigma else 0.0)
            return Prediction.from_x_0(schedule, x_t, level, x_0, p.variance)

        return denoise
