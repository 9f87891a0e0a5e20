"""Denoise, x_T, Schedule, Gradient -> Iterator[State]: Heun's method, two evaluations a step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.samplers.solver import Solver, Tables
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class Heun(Solver):
    """Heun's method of order 2 (Karras et al. 2022, Algorithm 1).

    Attributes:
        clip_again: apply the threshold after guidance as well.
    """

    clip_again: bool = False
    name: ClassVar[str] = "heun"

    def evaluations(self, steps: int) -> int:
        """Return the network evaluations per image: two for each step but the last."""
        return 2 * steps - 1

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Average the slopes at both ends of each step (Karras et al. 2022, Algorithm 1).

        The derivative of x / signal with respect to ratio = sigma / signal is the noise. The last
        step is Euler's, because the clean image has no slope.

        Yields:
            State after every step, with the prediction at the start of the step.
        """
        table = Tables.of(schedule)
        for t in range(schedule.last, 0, -1):
            p = denoise(x, t)
            x = table.signal[t - 1] * p.x_0 + table.sigma[t - 1] * p.noise  # lines 4 and 5
            if t > 1:
                width = table.ratio[t - 1] - table.ratio[t]
                change = denoise(x, t - 1).noise - p.noise
                x = x + table.signal[t - 1] * width / 2 * change  # lines 7 and 8
            yield State(x, t - 1, p)
