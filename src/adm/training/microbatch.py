"""RunState, Turn, Batch -> int: the largest micro-batch that fits in memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from adm.networks import key_dropout
from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.objective import Objective
from adm.training.players import Player, RunState
from adm.training.spread import accumulating
from adm.training.update import Turn, Update

CPU_REFUSAL = "can't allocate memory"  # in the message of PyTorch's CPU allocator


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in (CPU_REFUSAL, "out of memory"))
    )


def largest(fits: Callable[[int], bool], limit: int) -> int | None:
    """Return the first of limit, limit / 2, limit / 4, ... that fits; None if 1 does not fit."""
    size = limit
    while size >= 1:
        if fits(size):
            return size
        size //= 2
    return None


def probe(state: RunState, turn: Turn, batch: Batch, devices: Devices) -> Callable[[int], bool]:
    """Return a function that tries a size: a turn on the batch's first images, without a step.

    Before the first step of an optimizer, memory for its moments is allocated during the trial. All
    processes must try the same sizes; a size fits if it fits on all of them.
    """

    def fits(size: int) -> bool:
        failed = False
        try:
            moments = _moments_to_come(state)
            turn(state, batch.part(0, size), tried)
            del moments
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        forget_gradients(state)
        if devices.device.type == "cuda":
            torch.cuda.empty_cache()
        return not devices.any(failed)

    return fits


def tried(player: Player, objective: Objective, batch: Batch, *, parts: int = 1) -> Update:
    """Run the forward and backward pass of a step without taking it; the Update has no rows."""
    key_dropout(player.network, batch.draws.key)
    with accumulating(player.runner, last=False):
        outcome = objective(player.runner, batch)
        outcome.loss.sum().backward()
    player.optimizer.zero_grad(set_to_none=True)
    nothing = {name: torch.empty(0) for name in outcome.shown}
    return Update(torch.empty(0), nothing, 0.0, None)


def forget_gradients(state: RunState) -> None:
    """Free the gradients of all players."""
    for player in state.players.values():
        player.optimizer.zero_grad(set_to_none=True)


def refusal(size: int, fitting: int | None) -> str:
    """Return the error message for a micro-batch of `size` images that does not fit.

    Args:
        fitting: the largest size that fits; None if even a single image does not.
    """
    if fitting is None:
        return (
            f"out of memory with {size} images at once, and a single image does not fit either; "
            "set train.checkpoint_activations=true or choose a smaller network"
        )
    return (
        f"out of memory with {size} images at once; a micro-batch of {fitting} would fit, with "
        "the same results up to rounding"
    )


def _moments_to_come(state: RunState) -> list[Tensor]:
    fresh = [player for player in state.players.values() if not player.optimizer.state]
    parameters = [p for player in fresh for p in player.network.parameters()]
    return [torch.empty_like(p) for p in parameters for _ in range(2)]
