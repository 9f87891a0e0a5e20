"""Denoise, x_T, Schedule, Gradient -> Iterator[State]: UniPC, a predictor with a free corrector."""

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
class UniPC(Multistep):
    """UniPC (Zhao et al. 2023): each evaluation also corrects the step that led to it.

    Attributes:
        order: order of the predictor, 1, 2 or 3; the corrector adds one.
        clip_again: apply the threshold after guidance as well.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 2
    clip_again: bool = False
    name: ClassVar[str] = "unipc"

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        return unipc(
            guided(denoise, gradient, schedule, again(self, threshold)), x, schedule, self.order
        )


def unipc(denoise: Denoise, x: Tensor, schedule: Schedule, order: int) -> Iterator[State]:
    """Predict each level, evaluate there, and correct (Zhao et al. 2023, Algorithms 5 to 8).

    Both replace x_0 by a polynomial in lambda: the predictor through its latest `order` values, the
    corrector through the value at the end of the step as well. The weights are those of the paper
    with B_2(h); where its linear systems have more than one unknown, B(h) cancels.

    Args:
        x: (B, C, H, W) pure noise.
        order: see `UniPC`.

    Yields:
        State after every step, with x as predicted.
    """
    table = Tables.of(schedule)
    taken = orders(order, schedule.last, lower_order_final=True)
    latest: deque[Tensor] = deque(maxlen=order + 1)  # x_0, the latest first

    def step(x: Tensor, t: int, nodes: list[float]) -> Tensor:
        """Go from level t to t - 1 by the x_0 at these nodes."""
        start, end = table.half_log_snr[t], table.half_log_snr[t - 1]
        weights = [table.signal[t - 1] * w for w in exponential(nodes, start, end)]
        values = list(latest)[: len(nodes)]
        return table.sigma[t - 1] / table.sigma[t] * x + weighted(weights, values)

    before = x  # at level t + 1, as corrected
    for t in range(schedule.last, 0, -1):
        p = denoise(x, t)
        latest.appendleft(p.x_0)
        if t < schedule.last:
            x = step(before, t + 1, table.half_log_snr[t : t + 1 + taken[t + 1]])
        before = x
        x = step(before, t, table.half_log_snr[t : t + taken[t]])
        yield State(x, t - 1, p)
