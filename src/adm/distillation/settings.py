"""Method, levels, steps, scales -> Distillation: how a student learns from a guided sampler."""

from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from pydantic import Field

from adm.arguments import check_learned
from adm.diffusion import Schedule
from adm.distillation.consistency import ConsistencyTuning
from adm.distillation.progressive import Progressive
from adm.distillation.student import every
from adm.distillation.trajectory import Trajectory
from adm.samplers import Grid

Method: TypeAlias = Progressive | Trajectory | ConsistencyTuning
MOST_SCALE = 1000.0
Scale = Annotated[float, Field(ge=0, le=MOST_SCALE)]


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a student is distilled from a guided sampler.

    Attributes:
        method: the objective, with its settings.
        grid: the levels that the teacher visits. The student of N steps visits every k-th of them,
            from the noisiest down.
        steps: the numbers of steps that the student learns to sample in; each divides the number of
            levels of `grid`.
        scales: the range of guidance scales, which the student takes as an input. In training
            they are uniform in it.
    """

    method: Annotated[Method, Field(discriminator="name")] = field(default_factory=Trajectory)
    grid: Grid = field(default_factory=lambda: Grid(steps=16, spacing="log_snr"))
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=16)]
    scales: tuple[Scale, Scale] = (0.0, 4.0)

    def check(self, last: int) -> None:
        """Raise ValueError if the fields contradict each other or a process with T = `last`."""
        low, high = self.scales
        if low > high:
            raise ValueError(
                f"distillation.scales must be the lower scale first, got {low:g} and {high:g}; "
                "exchange them"
            )
        self.grid.check(last)
        count = self.grid.steps
        for steps in self.steps:
            wanted = self.method.teacher_steps(steps)
            if count % wanted:
                raise ValueError(
                    f"distillation.steps={steps} needs a grid of a multiple of {wanted} levels for "
                    f"{self.method.name} distillation, and distillation.grid.steps is {count}; "
                    "change one of the two"
                )

    def levels(self, schedule: Schedule, steps: int) -> tuple[float, ...]:
        """Return the levels of a student of `steps` steps, ascending.

        Raises:
            ValueError: the student did not learn this number of steps.
        """
        check_learned(steps, self.steps)
        return every(self.grid.visited(schedule), steps)
