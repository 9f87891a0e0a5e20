"""Lesson, steps -> Objective: the student follows the points of the teacher's trajectory."""

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
        """Return the objective of the only stage, of a student of all its numbers of steps.

        The loss is the mean over all steps that it takes, so that every step counts alike.
        """
        schedule, teacher = lesson.schedule, lesson.teacher(lesson.levels)
        solver = DPMSolver(order=self.order)

        @torch.no_grad()
        def solve(x: Tensor, labels: Tensor, scales: Tensor) -> Points:
            """Return the points of the teacher, from the noise of a batch to images."""
            # The ODE draws no noise.
            states = solver(teacher(labels, scales), x, schedule, lambda *_: x)
            return {schedule.last: x} | {state.level: state.x for state in states}

        def objective(network: nn.Module, batch: Batch) -> Outcome:
            x, labels = batch.draws.noise, batch.labels
            scales = lesson.draw_scales(batch.draws, x)
            points = solve(x, labels, scales)
            jump = lesson.student(network, schedule, labels, scales)
            walks = {n: _walk(jump, points, schedule, n) for n in lesson.steps}
            loss = torch.cat(list(walks.values())).mean(dim=0)
            shown = {"loss": loss.detach()}
            shown |= {f"loss_{n}": each.mean(dim=0).detach() for n, each in walks.items()}
            return Outcome(loss, shown, torch.full_like(labels, schedule.last))

        return (objective,)


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
