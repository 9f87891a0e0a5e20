"""Lesson -> Objective: the student's images from two neighbouring levels agree."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from adm.diffusion import Schedule, process
from adm.diffusion.schedule import at
from adm.diffusion.transfer import send
from adm.distillation.student import Lesson, Method, step_to
from adm.images import to_float
from adm.limits import MOST_STEPS
from adm.networks import Condition
from adm.samplers import Consistency, Sampler
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome

MOST_STAGES = 32


@dataclass(frozen=True, kw_only=True)
class ConsistencyTuning(Method):
    """Easy consistency tuning of a guided teacher (Geng et al. 2024).

    The student maps x_t at any level to the clean image. Its image from x_t is trained towards its
    image from x_r, the point at a lower level r to which the teacher moves x_t. With t = sigma /
    signal, r = t (1 - n(t) / factor^(k + 1)) and n(t) = 1 + 8 sigmoid(-t), stage k of the training
    brings the two levels closer. Dropout masks are the same on both sides.

    Attributes:
        factor: q, the base of the differences.
        last_stage: the last k.
        stage_steps: optimizer steps of each stage but the last.
        mean: of log t, whose distribution is normal.
        deviation: of log t.
        huber: c of the pseudo-Huber distance sqrt(d^2 + c^2) - c of two images, which lets small
            differences count less.
    """

    factor: Annotated[float, Field(gt=1, le=64)] = 2.0
    last_stage: Annotated[int, Field(ge=0, lt=MOST_STAGES)] = 7
    stage_steps: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 250
    mean: Annotated[float, Field(ge=-20, le=20)] = -1.1
    deviation: Annotated[float, Field(gt=0, le=20)] = 2.0
    huber: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.03
    name: ClassVar[str] = "consistency"
    conditions: ClassVar[tuple[Condition, ...]] = ("scale",)
    sampler: ClassVar[type[Sampler]] = Consistency

    def stage(self, step: int) -> int:
        """Return the stage of an optimizer step, k."""
        return min(step // self.stage_steps, self.last_stage)

    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of every stage."""
        return tuple(consistency(lesson, self, k) for k in range(self.last_stage + 1))

    def lower(self, ratio: Tensor, stage: int) -> Tensor:
        """Return r of t, both as sigma / signal (Geng et al. 2024, section 3.3)."""
        share = (1 + 8 * torch.sigmoid(-ratio)) / self.factor ** (stage + 1)
        return ratio * (1 - share).clamp(min=0)

    def levels(
        self, schedule: Schedule, start: int, uniform: np.ndarray, stage: int
    ) -> tuple[Tensor, Tensor]:
        """Return t and r of a stage as whole levels, r < t, for uniform numbers of [0, 1)."""
        # The probit: the normal distribution's inverse.
        normal = math.sqrt(2) * torch.erfinv(2 * torch.from_numpy(uniform) - 1).clamp(-6, 6)
        ratio = (self.mean + self.deviation * normal).exp()
        level = schedule.level_of(-2 * ratio.log()).round().long().clamp(1, start)
        ratios = schedule.noise_to_signal
        lower = self.lower(ratios[level], stage)
        below = schedule.level_of(-2 * lower.clamp(min=float(ratios[1])).log()).round().long()
        below = torch.where(lower < ratios[1] / 2, 0, below)
        return level, torch.minimum(below, level - 1)


def consistency(lesson: Lesson, settings: ConsistencyTuning, stage: int) -> Objective:
    """Return the objective of a stage.

    The distance of the two images is divided by t - r (Geng et al. 2024, equation 13).
    """
    schedule, start = lesson.process, int(lesson.levels[-1])
    teacher = lesson.teacher(range(1, schedule.last + 1))

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        x_0, labels = to_float(batch.images), batch.labels
        levels = settings.levels(schedule, start, batch.draws.level, stage)
        level, below = (send(each, x_0.device) for each in levels)
        scales = lesson.draw_scales(batch.draws, x_0)
        x_t = process.diffuse(schedule, x_0, batch.draws.noise, level)
        jump = lesson.student(network, schedule, labels, scales)
        clean = torch.zeros_like(level)
        with torch.no_grad():
            x_r = step_to(schedule, teacher(labels, scales)(x_t, level), below)
            clear = (below == 0).reshape(-1, 1, 1, 1)
            target = torch.where(clear, x_r, jump(x_r, below, clean).x_0)
        away = (jump(x_t, level, clean).x_0 - target).flatten(1).square().sum(dim=1)
        distance = (away + settings.huber**2).sqrt() - settings.huber
        ratios = schedule.noise_to_signal
        apart = at(ratios, level, x_t) - at(ratios, below, x_t)
        loss = distance / apart.flatten()
        return Outcome(loss, {"loss": loss.detach()}, level)

    return objective
