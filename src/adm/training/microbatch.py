"""Whether a size fits in memory -> int: the largest micro-batch; what a refusal says."""

from collections.abc import Callable

import torch

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


def refusal(size: int, fitting: int | None) -> str:
    """Return the error message for a micro-batch of `size` images that does not fit.

    Args:
        fitting: the largest size that fits; None if even a single image does not.
    """
    if fitting is None:
        return (
            "out of memory, and not even a single image at once fits; set "
            "train.checkpoint_activations=true or choose a smaller network"
        )
    return (
        f"out of memory with {size} images at once; a micro-batch of {fitting} would fit, with "
        "the same results up to rounding"
    )
