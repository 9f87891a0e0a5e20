"""Denoise, x_T, Schedule, Noise -> Iterator[State]: multistep consistency sampling."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adm.diffusion import Denoise, Schedule, process
from adm.samplers.solver import Solver
from adm.samplers.state import Noise, State


@dataclass(frozen=True, kw_only=True)
class Consistency(Solver):
    """Multistep consistency sampling (Song et al. 2023, Algorithm 1).

    It is for students that map x_t to an image at once. The denoiser of another model predicts the
    mean of all images that x_t may come from, and gives blurred samples.
    """

    name: ClassVar[str] = "consistency"

    @property
    def random(self) -> bool:
        return True

    def solve(
        self, denoise: Denoise, x: Tensor, schedule: Schedule, noise: Noise
    ) -> Iterator[State]:
        """Sample an image at every level, and diffuse it with new noise to the next.

        Noise is evaluated once per level, although the last step does not use it.
        """
        for t in range(schedule.last, 0, -1):
            p = denoise(x, t)
            x = process.diffuse(schedule, p.x_0, noise(t), t - 1)
            yield State(x, t - 1, p)
