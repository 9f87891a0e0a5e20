"""Lesson, two networks -> Objectives: a critic tells a student's images from its teacher's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from adm.distillation.student import Lesson
from adm.distillation.trajectory import Points, Solve, trajectory, walked
from adm.networks import key_dropout
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# critic, images (B, C, H, W), labels (B,) -> logits (B,) of being the teacher's
Verdict: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class CriticSettings:
    """A discriminator that is trained to tell a student's images from its teacher's.

    A student of few steps is trained towards the mean of what it cannot tell apart, which is
    smooth; a discriminator sees the texture that is missing (Sauer et al. 2023). Both make images
    from the same noise, classes and guidance scales. Its features are the teacher's.

    Attributes:
        factor: of its logits in the student's loss.
        learning_rate: its peak.
        channels: width of its heads.
    """

    factor: Positive = 0.01
    learning_rate: Positive = 1e-3
    channels: Annotated[int, Field(ge=1, le=1024)] = 32


def opponents(
    lesson: Lesson,
    solve: Solve,
    student: nn.Module,
    critic: nn.Module,
    verdict: Verdict,
    factor: float,
) -> tuple[Objective, Objective]:
    """Return the objectives of a student and of its critic, which learns first from each batch.

    Args:
        solve: the teacher's solver, which is called once for both.
        student, critic: the networks; each is evaluated by the objective of the other.
        verdict: evaluates the critic.
        factor: of the critic's logits in the student's loss.
    """
    solved = dict[bytes, Points]()  # by draws, which tell the parts of a batch apart

    def first(batch: Batch) -> Points:
        points = solved[batch.draws.scale.tobytes()] = solve(batch)
        return points

    def second(batch: Batch) -> Points:
        return solved.pop(batch.draws.scale.tobytes())

    def critique(images: Tensor, labels: Tensor) -> Tensor:
        return -factor * verdict(critic, images, labels)

    return trajectory(lesson, second, critique), _discrimination(lesson, first, student, verdict)


def _discrimination(
    lesson: Lesson, solve: Solve, student: nn.Module, verdict: Verdict
) -> Objective:
    """Return the critic's objective, the hinge loss (Lim & Ye 2017), of all numbers of steps."""

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        points = solve(batch)
        key_dropout(student, batch.draws.key)
        with torch.no_grad():
            walks = walked(lesson, points, student, batch)
        images = torch.cat([points[0], *(walk.images for walk in walks.values())])
        # One pass over all, as processes average the gradients of one pass.
        logits = verdict(network, images, batch.labels.repeat(1 + len(walks)))
        real, generated = logits[: batch.size], logits[batch.size :].reshape(len(walks), -1)
        loss = F.relu(1 - real) + F.relu(1 + generated).mean(dim=0)
        shown = {"loss": loss, "real": real, "generated": generated.mean(dim=0)}
        level = torch.zeros_like(batch.labels)
        return Outcome(loss, {name: each.detach() for name, each in shown.items()}, level)

    return objective
