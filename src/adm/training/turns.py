"""RunState, Batch, Learn -> Updates by name: who learns from a batch, in which order."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from adm.training.batches import Batch
from adm.training.objective import Objective
from adm.training.players import MODEL, Player, RunState
from adm.training.update import Update


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
