"""Learner, Batch -> int: the largest micro-batch that fits in memory."""

from collections.abc import Callable

import torch

from adm.processes import Devices
from adm.training.batches import Batch
from adm.training.learner import Learner
from adm.training.update import backward

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


def probe(learner: Learner, batch: Batch, devices: Devices) -> Callable[[int], bool]:
    """Return a function that tries a size: both passes of the batch's first images, without a step.

    All processes must try the same sizes; a size fits if it fits on all of them.
    """

    def fits(size: int) -> bool:
        failed = False
        try:
            backward(learner, batch.part(0, size), factor=1.0, last=False)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        learner.optimizer.zero_grad()
        if devices.device.type == "cuda":
            torch.cuda.empty_cache()
        return not devices.any(failed)

    return fits


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
