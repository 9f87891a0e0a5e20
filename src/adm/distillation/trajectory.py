"""Lesson, steps -> Objective: the student follows the points of the teacher's trajectory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Denoise, Schedule
from adm.diffusion.likelihood import per_image
from adm.distillation.perceptual import perceptual_distance
from adm.distillation.student import Jump, Lesson, stepped
from adm.networks import Condition
from adm.samplers.dpm_solver import dpm_solver
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome

Away: TypeAlias = Callable[[Tensor, int], Tensor]  # x, level -> (B,) distance from the teacher


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Distillation of a trajectory (Zhou et al. 2024, "Simple and Fast Distillation").

    The teacher solves the guided ODE from noise at all levels with the multistep DPM-Solver++,
    several steps for one of the student's. The student takes its own steps, from where it has
    arrived, and each is trained towards the teacher's point. No images are used. All numbers of
    steps that the student learns are trained on each of the teacher's trajectories, which cost the
    most.

    Attributes:
        order: of the teacher's solver, 1 to 3.
        perceptual: weight of the distance in the features of the teacher's classifier, which was
            trained on noisy images, beside the mean absolute difference of pixels. Pixels alone
            favour a smooth image wherever the student cannot predict the texture.
    """

    order: Annotated[int, Field(ge=1, le=3)] = 3
    perceptual: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    name: Literal["trajectory"] = "trajectory"
    conditions: ClassVar[tuple[Condition, ...]] = ("next", "scale")
    sampler: ClassVar[str] = "ddim"

    def teacher_steps(self, steps: int) -> int:
        """Return the number of the teacher's steps for one of the student's numbers of steps."""
        return steps

    def stage(self, step: int, steps: int) -> int:
        """Return the stage of an optimizer step: there is one."""
        return 0

    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of the only stage."""
        return (trajectory(lesson, self),)


def trajectory(lesson: Lesson, settings: Trajectory) -> Objective:
    """Return the objective of a student of all its numbers of steps.

    The loss is the mean over all steps that it takes, so that every step counts alike.
    """
    schedule = lesson.process.visiting(lesson.levels)

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x, labels = batch.draws.noise, batch.labels
        scales = lesson.drawn(batch.draws, x)
        teacher = lesson.teacher.teach(schedule, labels, scales)
        points = _points(teacher, x, schedule, settings.order)
        away = distance(lesson, schedule, points, settings.perceptual)
        jump = lesson.student(network, schedule, labels, scales)
        losses = {steps: followed(jump, x, schedule, steps, away) for steps in lesson.steps}
        loss = torch.cat(list(losses.values())).mean(dim=0)
        each = {f"loss_{steps}": value.mean(dim=0).detach() for steps, value in losses.items()}
        start = torch.full_like(labels, schedule.last)
        return Outcome(loss, {"loss": loss.detach(), **each}, start)

    return objective


def distance(
    lesson: Lesson, schedule: Schedule, points: dict[int, Tensor], perceptual: float
) -> Away:
    """Return how far images at a level are from the teacher's, as the sum of two distances.

    Args:
        points: of the teacher's trajectory, by level.
        perceptual: weight of the distance in the features of the teacher's classifier.
    """

    @cache
    @torch.no_grad()
    def wanted(level: int) -> list[Tensor]:
        return list(lesson.teacher.features(schedule, points[level], level))

    def away(x: Tensor, level: int) -> Tensor:
        pixels = per_image((x - points[level]).abs())
        if not perceptual:
            return pixels
        found = lesson.teacher.features(schedule, x, level)
        return pixels + perceptual * perceptual_distance(found, wanted(level))

    return away


def followed(jump: Jump, x: Tensor, schedule: Schedule, steps: int, away: Away) -> Tensor:
    """Return how far from the teacher's points the student arrives at each step; (steps, B).

    Args:
        x: the noise that the teacher starts from.
        away: the distance from the teacher's point at a level.
    """
    stride = schedule.last // steps
    losses: list[Tensor] = []
    for level in range(schedule.last, 0, -stride):
        following = level - stride
        x = stepped(schedule, jump(x, level, following), following)
        losses.append(away(x, following))
        x = x.detach()
    return torch.stack(losses)


@torch.no_grad()
def _points(teacher: Denoise, x: Tensor, schedule: Schedule, order: int) -> dict[int, Tensor]:
    """Return the points of the teacher's trajectory from x, by level."""
    states = dpm_solver(teacher, x, schedule, None, order)
    return {schedule.last: x} | {state.level: state.x for state in states}
