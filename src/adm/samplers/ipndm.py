"""Denoise, x_T, Schedule, Gradient -> Iterator[State]: Adams-Bashforth on the noise, iPNDM."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Prediction, Schedule
from adm.samplers.solver import Multistep, Solver, Tables, adams, orders, weighted
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class IPNDM(Multistep, Solver):
    """iPNDM, Adams-Bashforth in sigma / signal (Liu et al. 2022; Zhang and Chen 2023).

    Attributes:
        order: 1 (DDIM) to 4.
        even: use the weights of even steps, as the papers do, whatever the steps are. Otherwise the
            weights are those of the actual steps (rhoAB-DEIS of Zhang and Chen).
        clip_again: apply the threshold after guidance as well.
    """

    order: Annotated[int, Field(ge=1, le=4)] = 4
    even: bool = False
    clip_again: bool = False
    name: ClassVar[str] = "ipndm"

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        adams_bashforth = AdamsBashforth(schedule, self.order, self.even)
        for t in range(schedule.last, 0, -1):
            p = denoise(x, t)
            x = adams_bashforth.step(p, t)
            yield State(x, t - 1, p)


class AdamsBashforth:
    """One trajectory of the Adams-Bashforth method on the noise, with its latest values.

    The derivative of x / signal with respect to ratio = sigma / signal is the noise. A step of
    order 1 is DDIM's; a higher one adds the differences of the earlier noises from the latest.

    Args:
        schedule: the levels visited.
        order, even: see `IPNDM`.
    """

    def __init__(self, schedule: Schedule, order: int, even: bool) -> None:
        self.table, self.even = Tables.of(schedule), even
        self.orders = orders(order, schedule.last, lower_order_final=False)
        self.latest: deque[Tensor] = deque(maxlen=order)  # noise, the latest first

    def step(self, prediction: Prediction, t: int) -> Tensor:
        """Return x at level t - 1, given the prediction at level t."""
        signal, sigma = self.table.signal[t - 1], self.table.sigma[t - 1]
        self.latest.appendleft(prediction.noise)
        x = signal * prediction.x_0 + sigma * prediction.noise
        earlier = list(self.latest)[1 : self.orders[t]]
        if not earlier:
            return x
        weights = [signal * weight for weight in self._weights(t)[1:]]
        return x + weighted(weights, [noise - prediction.noise for noise in earlier])

    def _weights(self, t: int) -> list[float]:
        order, ratio = self.orders[t], self.table.ratio
        if self.even:
            width = ratio[t - 1] - ratio[t]
            return [width * weight for weight in adams([-float(n) for n in range(order)], 0, 1)]
        return adams(ratio[t : t + order], ratio[t], ratio[t - 1])
