"""Measurement -> Gradient: pseudo-inverse guidance (Song et al. 2023)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import Level, Prediction, Schedule
from adm.guidance import Gradient
from adm.restoration.measurement import Measurement
from adm.restoration.method import Likelihood

Variance = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class PGDM(Likelihood):
    """Pseudo-inverse guidance (Song et al. 2023).

    p(x_0 | x_t) is taken to be normal around the estimate with the variance r^2 of `spread`, so
    that y is normal around A x_0 with covariance r^2 A A^T + sigma^2; its gradient goes through the
    network. It is exact if the data are normal with this variance in all directions.

    Attributes:
        variance: of the data; 1, the paper's, is more than that of images in [-1, 1].
    """

    variance: Variance = 1.0
    name: ClassVar[str] = "pgdm"

    def gradient(self, measurement: Measurement, schedule: Schedule) -> Gradient:
        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            r_2 = spread(schedule, level, self.variance)
            residual = measurement.residual(prediction.x_0.detach())
            pull = measurement.pull_back(residual, measurement.variance / r_2) / r_2
            return torch.autograd.grad(prediction.x_0, x_t, pull.to(prediction.x_0.dtype))[0]

        return gradient


def spread(schedule: Schedule, level: Level, variance: float) -> float:
    """Return the variance of x_0 given x_t, of normal data of some variance."""
    assert isinstance(level, int)
    alpha_bar = float(schedule.alpha_bar[level])
    return variance * (1 - alpha_bar) / (variance * alpha_bar + 1 - alpha_bar)
