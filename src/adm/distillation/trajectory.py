"""Lesson, steps -> Objective: the student follows the points of the teacher's trajectory."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Denoise, Schedule
from adm.diffusion.likelihood import per_image
from adm.distillation.student import Jump, Lesson, Method, stepped
from adm.networks import Condition
from adm.samplers import DDIM, Sampler
from adm.samplers.dpm_solver import dpm_solver
from adm.samplers.solver import ExponentialSteps
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome


@dataclass(frozen=True, kw_only=True)
class Trajectory(Method):
    """Distillation of a trajectory (Zhou et al. 2024, "Simple and Fast Distillation").

    The teacher solves the guided ODE from noise at all levels with the multistep DPM-Solver++,
    several steps for one of the student's. The student takes its own steps, from where it has
    arrived, and each is trained towards the teacher's point. No images are used. All numbers of
    steps that the student learns are trained on each of the teacher's trajectories, which cost the
    most.

    Attributes:
        order: of the teacher's solver, 1 to 3.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 3
    name: ClassVar[str] = "trajectory"
    conditions: ClassVar[tuple[Condition, ...]] = ("next", "scale")
    sampler: ClassVar[type[Sampler]] = DDIM
    noised: ClassVar[bool] = False

    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of the only stage."""
        return (trajectory(lesson, self.order),)


def trajectory(lesson: Lesson, order: int) -> Objective:
    """Return the objective of a student of all its numbers of steps.

    The loss is the mean over all steps that it takes, so that every step counts alike.

    Args:
        order: of the teacher's solver.
    """
    schedule = lesson.process.visiting(lesson.levels)

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x, labels = batch.draws.noise, batch.labels
        scales = lesson.drawn(batch.draws, x)
        points = _points(lesson.teach(schedule, labels, scales), x, schedule, order)
        jump = lesson.student(network, schedule, labels, scales)
        losses = {steps: followed(jump, points, schedule, steps) for steps in lesson.steps}
        loss = torch.cat(list(losses.values())).mean(dim=0)
        each = {f"loss_{steps}": value.mean(dim=0).detach() for steps, value in losses.items()}
        start = torch.full_like(labels, schedule.last)
        return Outcome(loss, {"loss": loss.detach(), **each}, start)

    return objective


def followed(jump: Jump, points: dict[int, Tensor], schedule: Schedule, steps: int) -> Tensor:
    """Return the mean absolute difference from the teacher's point at each step; (steps, B).

    The points have about unit variance at every level, and so an error counts by its share of the
    noise that is left: what disappears in that noise does not matter to the next step.

    Args:
        points: of the teacher's trajectory, by level, with the noise that it starts from.
    """
    x, stride = points[schedule.last], schedule.last // steps
    losses: list[Tensor] = []
    for level in range(schedule.last, 0, -stride):
        following = level - stride
        x = stepped(schedule, jump(x, level, following), following)
        losses.append(per_image((x - points[following]).abs()))
        x = x.detach()
    return torch.stack(losses)


@torch.no_grad()
def _points(teacher: Denoise, x: Tensor, schedule: Schedule, order: int) -> dict[int, Tensor]:
    """Return the points of the teacher's trajectory from x, by level."""
    states = dpm_solver(teacher, x, ExponentialSteps(schedule), order)
    return {schedule.last: x} | {state.level: state.x for state in states}
