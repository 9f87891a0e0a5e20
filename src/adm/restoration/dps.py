"""Measurement -> Gradient: diffusion posterior sampling (Chung et al. 2023)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import Level, Prediction, Schedule
from adm.diffusion.process import posterior_coefficients
from adm.diffusion.schedule import at
from adm.guidance import Gradient
from adm.restoration.measurement import Measurement
from adm.restoration.method import Likelihood


@dataclass(frozen=True, kw_only=True)
class DPS(Likelihood):
    """Diffusion posterior sampling (Chung et al. 2023): any measurement, and a step size to tune.

    Ancestral sampling subtracts step times the gradient of |y - forward(x_0)| from x_(t-1), where
    x_0 is the estimate at x_t. That is a shift of the estimate by the gradient over its factor in
    the mean of x_(t-1), in which form other samplers take it too.

    Attributes:
        step: the step size; its code takes 0.3 for blur and fewer pixels, 0.5 for inpainting, and
            1 for phase retrieval.
    """

    step: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    name: ClassVar[str] = "dps"
    linear: ClassVar[bool] = False
    steps: ClassVar[int] = 1000
    grid: ClassVar[str] = "even"
    sampler: ClassVar[str | None] = "ancestral"
    cure: ClassVar[str] = "give a smaller {method=dps:step}"

    def gradient(self, measurement: Measurement, schedule: Schedule) -> Gradient:
        # `folded` moves x_0 by sigma^2 / signal times the gradient.
        factor = (
            self.step * schedule.signal / schedule.sigma**2 / posterior_coefficients(schedule)[0]
        )

        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            error = measurement.error(prediction.x_0).sum()
            return -at(factor, level, x_t) * torch.autograd.grad(error, x_t)[0]

        return gradient
