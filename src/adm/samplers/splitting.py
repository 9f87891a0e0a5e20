"""Denoise, x_T, Schedule, Gradient -> Iterator[State]: the gradient takes a step of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, NoReturn

from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Prediction, Schedule, Threshold, clip
from adm.guidance import Gradient, shifted
from adm.samplers.ipndm import AdamsBashforth
from adm.samplers.solver import Multistep
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class Splitting(Multistep):
    """Splitting for guided sampling (Wizadwongsa and Suwajanakorn 2023), Lie-Trotter.

    Without guidance it is iPNDM.

    Attributes:
        order: order of the step on the unguided noise, 1 to 4.
        even: use the weights of even steps, as the paper does; see `IPNDM`.
    """

    order: Annotated[int, Field(ge=1, le=4)] = 4
    even: bool = False
    name: ClassVar[str] = "splitting"

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        """Take Euler's step along the gradient, then a step on the unguided noise, at each level.

        The derivative of x / signal with respect to ratio = sigma / signal is noise - sigma
        gradient, and each step solves the second term first. The network is evaluated once, between
        the two.

        Yields:
            State after every step. Its prediction is that of the network shifted by the gradient as
            in Algorithm 2 of the paper, so that `prediction.x_0` is the guided estimate.

        Raises:
            ValueError: the gradient depends on the prediction.
        """
        adams_bashforth = AdamsBashforth(schedule, self.order, self.even)
        table = adams_bashforth.table
        for t in range(schedule.last, 0, -1):
            if gradient is None:
                p = denoise(x, t)
                x = adams_bashforth.step(p, t)
            else:
                pull = gradient(x.detach(), t, _Unevaluated()).detach()
                width = table.signal[t] * table.sigma[t] * (table.ratio[t] - table.ratio[t - 1])
                moved = x.detach() + width * pull
                p = denoise(moved, t).detached()
                x = adams_bashforth.step(p, t)
                p = shifted(p, pull, schedule, moved, t)
            yield State(x, t - 1, p)


class _Unevaluated(Prediction):
    """Stands for the prediction where the network is evaluated only after the gradient."""

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError(
            "splitting takes the gradient before the network is evaluated, and this gradient "
            "depends on the prediction; use another sampler, such as sampler='dpm-solver'"
        )
