"""Interval of noise levels, visited levels -> the visited ones within it, or ValueError."""

from collections.abc import Sequence
from typing import TypeAlias

# Lowest and highest level, of the process that the model was trained on.
Interval: TypeAlias = tuple[int, int]


def check_ordered(interval: Interval | None) -> None:
    """Raise ValueError if the lowest level is above the highest, or below 0."""
    if interval is not None and not 0 <= interval[0] <= interval[1]:
        low, high = interval
        raise ValueError(
            f"the interval of guidance must be two levels, the lower one first, got {low} and "
            f"{high}; give them as in 100,700"
        )


def check_within(interval: Interval | None, last: int) -> None:
    """Raise ValueError unless the interval is within a process with T = `last`."""
    if interval is not None and interval[1] > last:
        raise ValueError(
            f"the interval of guidance must be within levels 0..{last} of the model's process, "
            f"got {interval[0]} and {interval[1]}; give two of these levels"
        )


def visited(interval: Interval | None, levels: Sequence[float]) -> Interval | None:
    """Return the lowest and the highest visited level within an interval; None for all levels.

    Args:
        levels: the levels that the sampler visits, of the process that the model was trained on,
            ascending; it numbers them from 1.
    """
    if interval is None:
        return None
    low, high = interval
    inside = [i for i, level in enumerate(levels, start=1) if low <= level <= high]
    # An interval between two visited levels contains none; level 0 is never visited.
    return (inside[0], inside[-1]) if inside else (0, 0)
