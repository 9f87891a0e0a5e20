"""Denoise, x_T, Schedule, Noise, Gradient -> Iterator[State]: DPM-Solver++, multistep."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, clip
from adm.guidance import Gradient
from adm.samplers.sampler import again
from adm.samplers.solver import (
    Multistep,
    Tables,
    exponential,
    guided,
    orders,
    weighted,
)
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Multistep):
    """DPM-Solver++ 1M, 2M or 3M (Lu et al. 2022b), for the ODE or the SDE.

    Lu et al. give the SDE forms of orders 1 and 2; that of order 3 is the same integral.

    Attributes:
        order: 1 (DDIM), 2 or 3.
        sde: solve the reverse SDE, which adds noise at each step, rather than the ODE.
        clip_again: apply the threshold after guidance as well.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 2
    sde: bool = False
    clip_again: bool = False
    name: ClassVar[str] = "dpm-solver"

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        denoise = guided(denoise, gradient, schedule, again(self, threshold))
        return dpm_solver(denoise, x, schedule, noise if self.sde else None, self.order)


def dpm_solver(
    denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise | None, order: int
) -> Iterator[State]:
    """Sample with the multistep DPM-Solver++ (Lu et al. 2022b, section 4; SDE, section 5).

    With k = 1 for the ODE and 2 for the SDE, and ' for the next level, x_0 is replaced by the
    polynomial in lambda through its latest values, which gives the factors c_j:

        x' = sigma' / sigma r^(k - 1) x + signal' sum_j c_j x_0j
             + sigma' sqrt(1 - r^(2 (k - 1))) z,

    where r is the quotient of sigma' / signal' and sigma / signal. The last step has order 1, and
    returns x_0.

    Args:
        x: (B, C, H, W) pure noise.
        noise: evaluated once per level for the SDE; None for the ODE.
        order: see `DPMSolver`.

    Yields:
        State after every step.
    """
    table, rate = Tables.of(schedule), 1 if noise is None else 2
    taken = orders(order, schedule.last, lower_order_final=True)
    latest: deque[Tensor] = deque(maxlen=order)  # x_0, the latest first
    for t in range(schedule.last, 0, -1):
        p = denoise(x, t)
        latest.appendleft(p.x_0)
        nodes = table.half_log_snr[t : t + taken[t]]
        weights = exponential(nodes, nodes[0], table.half_log_snr[t - 1], rate)
        shrunk = (table.ratio[t - 1] / table.ratio[t]) ** (rate - 1)
        x = table.sigma[t - 1] / table.sigma[t] * shrunk * x + weighted(
            [table.signal[t - 1] * weight for weight in weights], list(latest)[: taken[t]]
        )
        if noise is not None:
            x = x + table.sigma[t - 1] * (1 - shrunk**2) ** 0.5 * noise(t)
        yield State(x, t - 1, p)
