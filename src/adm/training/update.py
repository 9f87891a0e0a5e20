"""network, batch -> one optimizer step, or none where the numbers are not finite."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from adm.losses import TimestepImportance
from adm.networks import key_dropout
from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.ema import EMA
from adm.training.objective import Objective, Outcome
from adm.training.spread import accumulating, rows, whole

Skipped = Literal["forward", "gradient"]


@dataclass
class LossScale:
    """The factor that keeps float16's small gradients from vanishing; 1 in other precisions.

    Halved by every overflow, doubled after `PATIENCE` steps without one (Micikevicius et al. 2018,
    section 3.2).
    """

    value: float = 1.0
    good: int = 0
    active: bool = False

    PATIENCE = 1000
    FIRST = 2.0**16

    @classmethod
    def of(cls, precision: str) -> "LossScale":
        return cls(cls.FIRST, 0, True) if precision == "float16" else cls()

    @property
    def can_fall(self) -> bool:
        """Whether a smaller factor might cure an overflow."""
        return self.active and self.value > 1

    def after(self, finite: bool) -> None:
        if not self.active:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(1.0, self.value / 2)
        elif self.good % self.PATIENCE == 0:
            self.value *= 2


@dataclass(eq=False)
class RunState:
    """All that changes while a run goes on, besides its step."""

    network: nn.Module
    averages: tuple[EMA, ...]
    optimizer: torch.optim.Optimizer
    importance: TimestepImportance | None
    scale: LossScale
    bad_steps: int = 0  # in a row, up to now

    @property
    def ema(self) -> EMA:
        """The average that is the model."""
        return self.averages[0]


class Update(NamedTuple):
    """What a step gave; rows in the order of the global batch, the same in every process.

    Attributes:
        level: (B,) noise level of each image.
        rows: name -> (B,) values for the log; `loss` is unweighted.
        gradient_norm: before clipping.
        skipped: why the weights stayed as they were: the network's output was not finite, or its
            gradient alone. None where they moved.
    """

    level: Tensor
    rows: dict[str, Tensor]
    gradient_norm: float
    skipped: Skipped | None

    @property
    def means(self) -> dict[str, float]:
        return {name: float(values.double().mean()) for name, values in self.rows.items()}


def update(
    state: RunState,
    runner: nn.Module,
    objective: Objective,
    batch: Batch,
    devices: Devices,
    *,
    batch_size: int,
    micro_batch: int,
    gradient_clip: float | None,
) -> Update:
    """Take one step on the global batch, of which `batch` is this process's share.

    The loss is the mean over the global batch, however it is cut into micro-batches and spread
    over processes.

    Args:
        runner: `state.network` as `devices` spread it.
        batch_size: of the global batch.
        micro_batch: images that go through the network at once.
        gradient_clip: largest norm of the gradient; None for no limit.
    """
    outcomes = []
    for part, last in _parts(batch, micro_batch):
        key_dropout(state.network, part.draws.key)
        with accumulating(runner, last):
            outcome = objective(runner, part)
            # Processes average their gradients, and each has a share of the sum.
            share = state.scale.value * devices.world / batch_size
            (outcome.loss.sum() * share).backward()
        outcomes.append(outcome.detached())
    level, values = _gathered(outcomes, devices, batch_size)
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    norm = float(whole(get_total_norm(gradients))) / state.scale.value
    healthy = bool(torch.stack(list(values.values())).isfinite().all())
    skipped = None if healthy and math.isfinite(norm) else "gradient" if healthy else "forward"
    if skipped is None:
        _rescale(gradients, norm, gradient_clip, state.scale.value)
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.importance is not None:
        state.importance.update(level.long().numpy(), values["loss"].double().numpy())
    return Update(level, values, norm, skipped)


def _parts(batch: Batch, size: int) -> Iterator[tuple[Batch, bool]]:
    for start in range(0, batch.size, size):
        yield batch.part(start, start + size), start + size >= batch.size


def _gathered(
    outcomes: list[Outcome], devices: Devices, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Levels and shown values of the whole global batch."""
    names = list(outcomes[0].shown)
    columns = [torch.cat([o.shown[name].detach().float() for o in outcomes]) for name in names]
    level = torch.cat([o.level.float() for o in outcomes])
    all_rows = rows(torch.stack([level, *columns], dim=1), count, devices)
    return all_rows[:, 0], dict(zip(names, all_rows[:, 1:].unbind(1), strict=True))


def _rescale(gradients: list[Tensor], norm: float, clip: float | None, scale: float) -> None:
    factor = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
    if factor / scale != 1:
        torch._foreach_mul_(gradients, factor / scale)  # pyright: ignore[reportPrivateImportUsage]
