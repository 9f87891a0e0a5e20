"""Lesson, steps -> Objective: the student follows the points of the teacher's trajectory."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Denoise, Schedule
from adm.diffusion.likelihood import per_image
from adm.diffusion.schedule import at
from adm.distillation.student import Lesson, stepped
from adm.networks import Condition
from adm.samplers.dpm_solver import dpm_solver
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Distillation of a trajectory (Zhou et al. 2024, "Simple and Fast Distillation").

    The teacher solves the guided ODE from noise at all levels with the multistep DPM-Solver++,
    several steps for one of the student's. The student takes its own steps, from where it has
    arrived, and each is trained towards the teacher's point. No images are used. If the student
    learns several numbers of steps, they take turns, one an optimizer step.

    Attributes:
        order: of the teacher's solver, 1 to 3.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 3
    name: Literal["trajectory"] = "trajectory"
    conditions: ClassVar[tuple[Condition, ...]] = ("next", "scale")
    sampler: ClassVar[str] = "ddim"

    def teacher_steps(self, steps: int) -> int:
        """Return the number of the teacher's steps for one of the student's numbers of steps."""
        return steps

    def stage(self, step: int, steps: int) -> int:
        """Return the stage of an optimizer step: one of the numbers of steps, in turn."""
        return step % steps

    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of every stage."""
        return tuple(trajectory(lesson, steps, self.order) for steps in lesson.steps)


def trajectory(lesson: Lesson, steps: int, order: int) -> Objective:
    """Return the objective of a student of `steps` steps.

    It is the mean absolute difference of x_s / signal, so that an error counts by what it moves
    the clean image, at any level; the mean over the steps is taken.

    Args:
        order: of the teacher's solver.
    """
    schedule = lesson.process.visiting(lesson.levels)
    stride = schedule.last // steps

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x, labels = batch.draws.noise, batch.labels
        scales = lesson.drawn(batch.draws, x)
        teacher = lesson.teach(schedule, labels, scales)
        points = _points(teacher, x, schedule, order, stride)
        jump = lesson.student(network, schedule, labels, scales)
        losses: list[Tensor] = []
        for level in range(schedule.last, 0, -stride):
            following = level - stride
            x = stepped(schedule, jump(x, level, following), following)
            away = (x - points[following]).abs() / at(schedule.signal, following, x)
            losses.append(per_image(away))
            x = x.detach()
        loss = torch.stack(losses).mean(dim=0)
        start = torch.full_like(labels, schedule.last)
        return Outcome(loss, {"loss": loss.detach()}, start)

    return objective


@torch.no_grad()
def _points(
    teacher: Denoise, x: Tensor, schedule: Schedule, order: int, stride: int
) -> dict[int, Tensor]:
    """Return the teacher's points by level, those where the student's steps end."""
    states = dpm_solver(teacher, x, schedule, None, order)
    return {state.level: state.x for state in states if state.level % stride == 0}
