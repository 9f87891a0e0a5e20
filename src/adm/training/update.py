"""Player, Objective, Batch -> Update: one optimizer step; a Turn decides who learns from a batch.

A step is skipped if a number is not finite.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from adm.networks import key_dropout
from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome
from adm.training.players import MODEL, Player, RunState
from adm.training.spread import accumulating, rows

Skipped = Literal["forward", "gradient"]


@dataclass(frozen=True, eq=False)
class StepSettings:
    """The settings of a step, which all players of a run share.

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
        curable: whether a smaller loss scale may prevent the overflow of the gradient.
    """

    level: Tensor
    rows: dict[str, Tensor]
    gradient_norm: float
    skipped: Skipped | None
    curable: bool = False

    @property
    def means(self) -> dict[str, float]:
        """The mean of each row, by name."""
        return {name: float(values.double().mean()) for name, values in self.rows.items()}


def update(
    player: Player, objective: Objective, batch: Batch, how: StepSettings, *, parts: int = 1
) -> Update:
    """Take one step on the global batch, of which `batch` is this process's share.

    The loss is the mean over the global batch, independent of micro-batches and processes. If a
    number is not finite, the weights stay as they are.

    Args:
        parts: the number of equal parts of the global batch, of one of which `batch` is the share.
    """
    size = how.batch_size // parts
    # The objective of another player may have left gradients in this network.
    player.optimizer.zero_grad(set_to_none=True)
    scale, outcomes = player.scale, []
    for part, last in _parts(batch, how.micro_batch):
        key_dropout(player.network, part.draws.key)
        with accumulating(player.runner, last):
            outcome = objective(player.runner, part)
            # The average over processes divides the sum of gradients by their number.
            share = scale.value * how.devices.world / size
            (outcome.loss.sum() * share).backward()
        outcomes.append(outcome.detached())
    level, values = _gathered(outcomes, size, how.devices)
    gradients = [p.grad for p in player.network.parameters() if p.grad is not None]
    norm = float(get_total_norm(gradients)) / scale.value
    healthy = bool(torch.stack(list(values.values())).isfinite().all())
    skipped = None if healthy and math.isfinite(norm) else "gradient" if healthy else "forward"
    curable = skipped == "gradient" and scale.can_fall
    if skipped is None:
        _rescale(gradients, norm, how.gradient_clip, scale.value)
        player.optimizer.step()
    player.optimizer.zero_grad(set_to_none=True)
    scale.after(skipped is None)
    return Update(level, values, norm, skipped, curable)


def _parts(batch: Batch, size: int) -> Iterator[tuple[Batch, bool]]:
    for start in range(0, batch.size, size):
        yield batch.part(start, start + size), start + size >= batch.size


def _gathered(
    outcomes: list[Outcome], size: int, devices: Devices
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gather the levels and the shown values of the whole global batch, of `size` images."""
    names = list(outcomes[0].shown)
    columns = [torch.cat([o.shown[name].detach().float() for o in outcomes]) for name in names]
    level = torch.cat([o.level.float() for o in outcomes])
    all_rows = rows(torch.stack([level, *columns], dim=1), size, devices)
    return all_rows[:, 0], dict(zip(names, all_rows[:, 1:].unbind(1), strict=True))


def _rescale(gradients: list[Tensor], norm: float, clip: float | None, scale: float) -> None:
    factor = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
    if factor / scale != 1:
        torch._foreach_mul_(gradients, factor / scale)  # pyright: ignore[reportPrivateImportUsage]


class Learn(Protocol):
    """Takes one optimizer step of one player.

    The loop passes `update`. The search for the largest micro-batch passes `tried`, which runs the
    same passes without the step.
    """

    def __call__(
        self, player: Player, objective: Objective, batch: Batch, *, parts: int = 1
    ) -> Update:
        """Learn from a batch, which is one of `parts` equal parts of the turn's."""
        ...


# Trains players on one batch and returns an Update for each, by name. A turn changes players only
# through `learn`, and takes all random numbers from the batch's draws.
Turn: TypeAlias = Callable[[RunState, Batch, Learn], dict[str, Update]]


def alone(
    *objectives: Objective, stage: Callable[[int], int] = lambda step: 0, name: str = MODEL
) -> Turn:
    """Return the turn that trains one network with one objective at a time.

    If levels are sampled by importance, it also records the losses of the step.

    Args:
        objectives: one or more, by their stage.
        stage: number of the optimizer step -> stage.
    """

    def turn(state: RunState, batch: Batch, learn: Learn) -> dict[str, Update]:
        taken = learn(state.players[name], objectives[stage(state.step)], batch)
        if state.importance is not None:
            losses = taken.rows["loss"].double().numpy()
            state.importance.update(taken.level.long().numpy(), losses)
        return {name: taken}

    return turn


def reported(steps: Sequence[Update]) -> Update:
    """Choose which of a player's steps to report: the first skipped one, or else the last."""
    return next((step for step in steps if step.skipped is not None), steps[-1])
