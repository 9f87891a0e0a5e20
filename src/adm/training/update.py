"""Learner, Batch -> Update: one optimizer step, which is skipped if a number is not finite."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from adm.networks import key_dropout
from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.learner import Learner
from adm.training.objective import Outcome
from adm.training.spread import gradient_sync, rows

Skipped = Literal["forward", "gradient"]


@dataclass(frozen=True, eq=False)
class StepSettings:
    """The settings of a step.

    Attributes:
        devices: the processes that share the global batch.
        batch_size: images of the global batch.
        micro_batch: images per forward pass.
        gradient_clip: largest norm of the gradient; None for no limit.
    """

    devices: Devices
    batch_size: int
    micro_batch: int
    gradient_clip: float | None = None


class Update(NamedTuple):
    """The result of a step, the same on every process; rows are in the order of the global batch.

    Attributes:
        level: (B,) float32 noise levels.
        rows: (B,) values for the log, by name; `loss` is unweighted.
        gradient_norm: L2 norm before clipping.
        skipped: why no step was taken: `forward` if the network's output was not finite, `gradient`
            if only the gradient was not. None if the step was taken.
    """

    level: Tensor
    rows: dict[str, Tensor]
    gradient_norm: float
    skipped: Skipped | None

    @property
    def means(self) -> dict[str, float]:
        """The mean of each row, by name."""
        return {name: float(values.double().mean()) for name, values in self.rows.items()}


def update(learner: Learner, batch: Batch, how: StepSettings) -> Update:
    """Take one step on the global batch, of which `batch` is this process's share.

    The loss is the mean over the global batch, independent of micro-batches and processes. If a
    number is not finite, weights, moments and averages stay as they are. Such a step is a bad one,
    unless it is an overflow of the scaled float16 gradient that a smaller scale may prevent.
    """
    scale, outcomes = learner.scale, []
    # The average over processes divides the sum of gradients by their number.
    factor = scale.value * how.devices.world / how.batch_size
    for start in range(0, batch.size, how.micro_batch):
        stop = start + how.micro_batch
        part = batch.part(start, stop)
        outcomes.append(backward(learner, part, factor, last=stop >= batch.size))
    level, values = _gather(outcomes, how)
    gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
    norm = float(get_total_norm(gradients)) / scale.value
    healthy = bool(torch.stack(list(values.values())).isfinite().all())
    skipped = None if healthy and math.isfinite(norm) else "gradient" if healthy else "forward"
    if skipped is None:
        _rescale(gradients, norm, how.gradient_clip, scale.value)
        learner.optimizer.step()
        for average in learner.averages:
            average.update(learner.network, learner.step)
        learner.bad_steps = 0
    elif skipped == "forward" or not scale.can_fall:
        learner.bad_steps += 1
    learner.optimizer.zero_grad()
    scale.adapt(skipped is None)
    if learner.importance is not None:
        losses = values["loss"].double().numpy()
        learner.importance.update(level.long().numpy(), losses)
    learner.step += 1
    return Update(level, values, norm, skipped)


def backward(learner: Learner, batch: Batch, factor: float, last: bool) -> Outcome:
    """Run the forward and the backward pass of a micro-batch, and add its gradient to the others'.

    Args:
        factor: of the sum of the losses.
        last: whether it is the last micro-batch of the step, whose gradient is then averaged over
            processes.
    """
    key_dropout(learner.network, batch.draws.key)
    with gradient_sync(learner.runner, last):
        outcome = learner.objective(learner.runner, batch)
        (outcome.loss.sum() * factor).backward()
    return outcome.detached()


def _gather(outcomes: list[Outcome], how: StepSettings) -> tuple[Tensor, dict[str, Tensor]]:
    """Gather the levels and the shown values of the whole global batch."""
    names = list(outcomes[0].shown)
    columns = [torch.cat([o.shown[name].detach().float() for o in outcomes]) for name in names]
    level = torch.cat([o.level.float() for o in outcomes])
    all_rows = rows(torch.stack([level, *columns], dim=1), how.batch_size, how.devices)
    return all_rows[:, 0], dict(zip(names, all_rows[:, 1:].unbind(1), strict=True))


def _rescale(gradients: list[Tensor], norm: float, clip: float | None, scale: float) -> None:
    factor = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
    if factor / scale != 1:
        torch._foreach_mul_(gradients, factor / scale)  # pyright: ignore[reportPrivateImportUsage]
