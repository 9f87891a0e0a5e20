"""a step, a device's memory -> the largest micro-batch that fits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adm.networks import key_dropout
from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.objective import Objective
from adm.training.spread import accumulating
from adm.training.update import RunState

CPU_REFUSAL = "can't allocate memory"  # what PyTorch's allocator says where there is no CUDA


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in (CPU_REFUSAL, "out of memory"))
    )


def largest(fits: Callable[[int], bool], limit: int) -> int | None:
    """The first of limit, limit / 2, limit / 4, ... that fits; None where not even 1 does."""
    size = limit
    while size >= 1:
        if fits(size):
            return size
        size //= 2
    return None


def probe(
    state: RunState, runner: nn.Module, objective: Objective, batch: Batch, devices: Devices
) -> Callable[[int], bool]:
    """A trial of a size: forward and backward on the batch's first images, gradients forgotten.

    Room for the optimizer's moments is held while it has none. Every process must try the same
    sizes; a size fits when it fits all of them.
    """

    def fits(size: int) -> bool:
        part, failed = batch.part(0, size), False
        try:
            held = _moments_to_come(state)
            key_dropout(state.network, part.draws.key)
            with accumulating(runner, last=False):
                objective(runner, part).loss.sum().backward()
            del held
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        state.optimizer.zero_grad(set_to_none=True)
        if devices.device.type == "cuda":
            torch.cuda.empty_cache()
        return not devices.any(failed)

    return fits


def refusal(size: int, fitting: int | None) -> str:
    """What to say when a micro-batch of `size` images did not fit."""
    if fitting is None:
        return (
            f"out of memory with {size} images at once, and not even 1 fits; add "
            "--set train.checkpoint_activations=true, spread the weights over several devices with "
            "--shard, or choose a smaller network"
        )
    return (
        f"out of memory with {size} images at once; {fitting} would fit: the same command with "
        f"--micro-batch {fitting} continues, and learns the same"
    )


def _moments_to_come(state: RunState) -> list[Tensor]:
    if state.optimizer.state:
        return []
    return [torch.empty_like(p) for p in state.network.parameters() for _ in range(2)]
