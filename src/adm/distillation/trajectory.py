"""Lesson, steps -> Objective: the student follows the points of the teacher's trajectory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Schedule
from adm.diffusion.likelihood import per_image
from adm.distillation.student import Jump, Lesson, Method, step_to
from adm.networks import Condition
from adm.samplers import DDIM, Sampler
from adm.samplers.dpm_solver import DPMSolver
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome

# The points of a batch's trajectories by level, from the noise of its draws to images
Points: TypeAlias = dict[int, Tensor]
Solve: TypeAlias = Callable[[Batch], Points]


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


def _solver(lesson: Lesson, order: int) -> Solve:
    """Return the teacher's solver, of this order, from the noise of a batch to images."""
    schedule, teacher = lesson.schedule, lesson.teacher(lesson.levels)
    solver = DPMSolver(order=order)

    @torch.no_grad()
    def solve(batch: Batch) -> Points:
        x = batch.draws.noise
        denoise = teacher(batch.labels, lesson.draw_scales(batch.draws, x))
        states = solver(denoise, x, schedule, lambda *_: x)  # the ODE, which draws no noise
        return {schedule.last: x} | {state.level: state.x for state in states}

    return solve


def trajectory(lesson: Lesson, order: int) -> Objective:
    """Return the objective of a student of all its numbers of steps.

    The loss is the mean over all steps that it takes, so that every step counts alike.

    Args:
        order: of the teacher's solver.
    """
    solve = _solver(lesson, order)

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        points, labels = solve(batch), batch.labels
        scales = lesson.draw_scales(batch.draws, batch.draws.noise)
        jump = lesson.student(network, lesson.schedule, labels, scales)
        walks = {n: _walk(jump, points, lesson.schedule, n) for n in lesson.steps}
        loss = torch.cat(list(walks.values())).mean(dim=0)
        shown = {"loss": loss.detach()}
        shown |= {f"loss_{n}": each.mean(dim=0).detach() for n, each in walks.items()}
        start = torch.full_like(labels, lesson.schedule.last)
        return Outcome(loss, shown, start)

    return objective


def _walk(jump: Jump, points: Points, schedule: Schedule, steps: int) -> Tensor:
    """Take a student's steps, each from where the one before has led.

    The points have about unit variance at every level, and so an error counts by its share of the
    noise that is left: what disappears in that noise does not matter to the next step. Each step
    is trained by its own loss alone.

    Args:
        points: of the teacher's trajectory, by level, with the noise that it starts from.

    Returns:
        (steps, B) mean absolute differences from the teacher's points.
    """
    x, stride = points[schedule.last], schedule.last // steps
    losses: list[Tensor] = []
    for level in range(schedule.last, 0, -stride):
        following = level - stride
        x = step_to(schedule, jump(x.detach(), level, following), following)
        losses.append(per_image((x - points[following]).abs()))
    return torch.stack(losses)
