"""Method, levels, steps, scales -> Distillation: how a student learns from a guided sampler."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from adm.diffusion import Schedule
from adm.distillation.consistency import ConsistencyTuning
from adm.distillation.student import Lesson, Method, Student, Teach
from adm.distillation.trajectory import Trajectory
from adm.samplers import GRIDS, Grid, LogSNR
from adm.samplers.interval import Interval, check_within
from adm.spec import SettingError, SpecOf, out_of_range
from adm.training.objective import Objective

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (Trajectory, ConsistencyTuning)}
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
        interval: lowest and highest level at which the teacher is guided; None for all.
        weak_scale: of the teacher's guidance by its weak model (autoguidance), at all levels; 1 for
            none.
    """

    method: Annotated[Method, SpecOf(METHODS)] = field(default_factory=Trajectory)
    grid: Annotated[Grid, SpecOf(GRIDS)] = field(default_factory=lambda: LogSNR(steps=16))
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=16)]
    scales: tuple[Scale, Scale] = (0.0, 4.0)
    interval: Interval | None = None
    weak_scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0

    def check(self, last: int) -> None:
        """Raise ValueError if the fields contradict each other or a process with T = `last`."""
        low, high = self.scales
        if low > high:
            cure = f"write the lower scale first, {high:g},{low:g}"
            raise SettingError("distillation.scales", f"{{}} is an empty range; {cure}")
        self.grid.check(last)
        check_within(self.interval, last, "distillation.interval")
        count = self.grid.steps
        for steps in self.steps:
            if count % steps:
                allowed = f"a multiple of {steps}, the steps of a student"
                raise out_of_range("distillation.grid.steps", allowed, count)

    def objectives(
        self, process: Schedule, teach: Teach, student: Student
    ) -> tuple[Objective, ...]:
        """Return the objective of every stage.

        Args:
            process: the process that the teacher was trained on.
        """
        levels = self.grid.visited(process)
        lesson = Lesson(process, levels, self.steps, self.scales, teach, student, self.interval)
        return self.method.stages(lesson)

    def levels(self, schedule: Schedule, steps: int) -> tuple[float, ...]:
        """Return the levels of a student of `steps` steps, ascending.

        Raises:
            ValueError: the student did not learn this number of steps.
        """
        if steps not in self.steps:
            known = " or ".join(map(str, sorted(self.steps)))
            raise out_of_range("steps", known, steps, "this model is distilled for no other number")
        visited = self.grid.visited(schedule)
        stride = len(visited) // steps
        return tuple(visited[stride - 1 :: stride])
