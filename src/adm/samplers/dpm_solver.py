"""Denoise, x_T, Schedule, Noise, Gradient -> Iterator[State]: DPM-Solver++, multistep."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.samplers.sampler import Stochastic
from adm.samplers.solver import ExponentialSteps, Multistep, Solver, orders
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Stochastic, Multistep, Solver):
    """DPM-Solver++ 1M, 2M or 3M (Lu et al. 2022b), for the ODE, the SDE and those between.

    Lu et al. give the SDE forms of orders 1 and 2 at eta 1; the others are the same integral.

    Attributes:
        order: 1 (DDIM), 2 or 3.
        clip_again: apply the threshold after guidance as well.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 2
    clip_again: bool = False
    name: ClassVar[str] = "dpm-solver"

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Sample with the multistep DPM-Solver++ (Lu et al. 2022b, section 4; SDE, section 5).

        With ' for the next level, x_0 is replaced by the polynomial in lambda through its latest
        values, which gives the factors c_j of rate 1 + eta^2:

            x' = sigma' / sigma r^(eta^2) x + signal' sum_j c_j x_0j
                 + sigma' sqrt(1 - r^(2 eta^2)) z,

        where r is the quotient of sigma' / signal' and sigma / signal. The last step has order 1,
        and returns x_0.
        """
        steps = ExponentialSteps(schedule, self.etas(schedule.last), noise)
        taken = orders(self.order, steps.last, lower_order_final=True)
        latest: deque[Tensor] = deque(maxlen=self.order)  # x_0, the latest first
        for t in range(steps.last, 0, -1):
            p = denoise(x, t)
            latest.appendleft(p.x_0)
            x = steps.step(x, t, list(latest)[: taken[t]], t, steps.drawn(t))
            yield State(x, t - 1, p)
