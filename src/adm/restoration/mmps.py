"""Measurement -> Gradient: moment matching posterior sampling (Rozet et al. 2024)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import Level, Prediction, Schedule
from adm.guidance import Gradient
from adm.restoration.measurement import Measurement, solve
from adm.restoration.method import Likelihood


@dataclass(frozen=True, kw_only=True)
class MMPS(Likelihood):
    """Moment matching posterior sampling (Rozet et al. 2024): no step size to tune.

    p(x_0 | x_t) is taken to be normal with its own covariance V, which by Tweedie's formula is
    sigma^2 / signal times the Jacobian of the estimate. So y is normal around A x_0 with covariance
    A V A^T + sigma_y^2, which conjugate gradients invert, with a backward pass for each product.
    It is exact if the data are normal.

    Attributes:
        iterations: of conjugate gradients.
    """

    iterations: Annotated[int, Field(ge=1, le=100)] = 3
    name: ClassVar[str] = "mmps"

    @property
    def backward(self) -> int:
        return self.iterations + 1

    def gradient(self, measurement: Measurement, schedule: Schedule) -> Gradient:
        forward, adjoint = measurement.forward, measurement.adjoint
        assert adjoint is not None, "a linear measurement"

        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            x_0 = prediction.x_0
            assert isinstance(level, int)
            gain = float(schedule.sigma[level] ** 2 / schedule.signal[level])

            def jacobian(v: Tensor) -> Tensor:  # transposed; the ideal one is symmetric
                return torch.autograd.grad(x_0, x_t, v.to(x_0.dtype), retain_graph=True)[0]

            def covariance(v: Tensor) -> Tensor:
                return forward(gain * jacobian(adjoint(v))) + measurement.variance * v

            residual = measurement.residual(x_0.detach())
            return jacobian(adjoint(solve(covariance, residual, self.iterations)))

        return gradient
