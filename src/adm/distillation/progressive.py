"""Lesson, steps -> Objective: a step of the student is several of the teacher's."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Schedule, process
from adm.diffusion.likelihood import per_image
from adm.diffusion.schedule import at
from adm.distillation.student import Lesson, Method, every, stepped
from adm.images import to_float
from adm.networks import Condition
from adm.samplers import DDIM, Sampler
from adm.training.batches import Batch
from adm.training.levels import uniform_level
from adm.training.objective import Objective, Outcome


@dataclass(frozen=True, kw_only=True)
class Progressive(Method):
    """Progressive distillation of DDIM (Salimans and Ho 2022; guided, Meng et al. 2023).

    The student of N steps imitates a teacher of 2N, which may be a student itself: a run halves
    the steps once. The first run, whose teacher is no student, may leave out a halving or two.

    Attributes:
        factor: steps of the teacher for one of the student's.
    """

    factor: Annotated[int, Field(ge=2, le=16)] = 2
    name: ClassVar[str] = "progressive"
    conditions: ClassVar[tuple[Condition, ...]] = ("next", "scale")
    sampler: ClassVar[type[Sampler]] = DDIM

    def teacher_steps(self, steps: int) -> int:
        """Return the number of the teacher's steps for one of the student's numbers of steps."""
        return self.factor * steps

    def stage(self, step: int, steps: int) -> int:
        """Return the stage of an optimizer step: one of the numbers of steps, in turn."""
        return step % steps

    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of every stage."""
        return tuple(progressive(lesson, steps, self.factor) for steps in lesson.steps)


def progressive(lesson: Lesson, steps: int, factor: int = 2) -> Objective:
    """Return the objective of a student of `steps` steps.

    The target is the x_0 with which one step of DDIM arrives where `factor` steps of the teacher
    do (Salimans and Ho 2022, equation 7 of appendix G, for two). Its squared error is weighted by
    1 / sigma^2, the SNR + 1 of their section 4, which is the error of the velocity.
    """
    fine = lesson.of(factor * steps)
    guided = lesson.teacher(every(lesson.levels, factor * steps))

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0, labels = to_float(batch.images), batch.labels
        coarse = uniform_level(lesson.of(steps), batch.draws.level)
        level = torch.from_numpy(factor * coarse).to(x_0.device)
        scales = lesson.drawn(batch.draws, x_0)
        x_t = x_s = process.diffuse(fine, x_0, batch.draws.noise, level)
        with torch.no_grad():
            teacher = guided(labels, scales)
            for done in range(factor):
                x_s = stepped(fine, teacher(x_s, level - done), level - done - 1)
            target = x_0_of_step(fine, x_t, level, x_s, level - factor)
        predicted = lesson.student(network, fine, labels, scales)(x_t, level, level - factor).x_0
        loss = per_image(((predicted - target) / at(fine.sigma, level, x_t)) ** 2)
        return Outcome(loss, {"loss": loss.detach()}, level)

    return objective


def x_0_of_step(
    schedule: Schedule, x_t: Tensor, level: Tensor, x_s: Tensor, following: Tensor
) -> Tensor:
    """Return the x_0 with which DDIM steps from x_t to x_s."""
    ratio = at(schedule.sigma, following, x_t) / at(schedule.sigma, level, x_t)
    factor = at(schedule.signal, following, x_t) - ratio * at(schedule.signal, level, x_t)
    return (x_s - ratio * x_t) / factor
