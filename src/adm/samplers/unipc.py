"""Denoise, x_T, Schedule, Gradient -> Iterator[State]: UniPC, a predictor with a free corrector."""

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
class UniPC(Stochastic, Multistep, Solver):
    """UniPC (Zhao et al. 2023): each evaluation also corrects the step that led to it.

    With an eta above 0 it is SA-Solver (Xue et al. 2023).

    Attributes:
        order: order of the predictor, 1, 2 or 3; the corrector adds one.
        clip_again: apply the threshold after guidance as well.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 2
    clip_again: bool = False
    name: ClassVar[str] = "unipc"

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Predict each level, evaluate there, and correct (Zhao et al. 2023, Algorithms 5 to 8).

        Both replace x_0 by a polynomial in lambda: the predictor through its latest `order` values,
        the corrector through the value at the end of the step as well, with the noise of the
        prediction (Xue et al. 2023, Algorithm 1). The weights are those of the papers; of Zhao et
        al. with B_2(h), and where their linear systems have more than one unknown, B(h) cancels.

        Yields:
            State after every step, with x as predicted.
        """
        steps = ExponentialSteps(schedule, self.etas(schedule.last), noise)
        taken = orders(self.order, steps.last, lower_order_final=True)
        latest: deque[Tensor] = deque(maxlen=self.order + 1)  # x_0, the latest first
        before, drawn = x, None  # at level t + 1, as corrected, and the noise of the step from it
        for t in range(steps.last, 0, -1):
            p = denoise(x, t)
            latest.appendleft(p.x_0)
            if t < steps.last:
                x = steps.step(before, t + 1, list(latest)[: taken[t + 1] + 1], t, drawn)
            before, drawn = x, steps.drawn(t)
            x = steps.step(before, t, list(latest)[: taken[t]], t, drawn)
            yield State(x, t - 1, p)
