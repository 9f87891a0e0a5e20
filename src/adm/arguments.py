"""Argument of a public function, types or limits -> ValueError unless it is within them."""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from adm.shown import shown


def check(name: str, value: object, kinds: tuple[type, ...], wanted: str) -> None:
    """Raise ValueError, which names the argument, unless the value has one of these types."""
    if not isinstance(value, kinds):
        text = repr(value)
        told = f" {shown(value)}" if len(text) < 60 and "\n" not in text else ""
        raise ValueError(f"{name} must be {wanted}, got {type(value).__name__}{told}")


def check_grid(steps: int, start: int | None, last: int) -> int:
    """Return the level at which sampling starts, of a process with T = `last`.

    Raises:
        ValueError: `start` or `steps` is out of range.
    """
    first = last if start is None else start
    if not 2 <= first <= last:
        raise ValueError(f"start must be a level in 2..{last}, got {first}")
    if not 2 <= steps <= first:
        raise ValueError(f"steps must be in 2..{first}, got {steps}")
    return first


def check_levels(levels: Sequence[float], last: int | None = None, least: int = 2) -> None:
    """Raise ValueError unless these are levels that a sampler can visit.

    Args:
        last: T of the process; None if it is not known yet.
        least: the least number of levels.
    """
    wanted = f"levels must be at least {least} ascending numbers, each 1 or more"
    strange = [level for level in levels if not (isfinite(level) and level >= 1)]
    if strange or len(levels) < least:
        raise ValueError(f"{wanted}, got {shown(strange[0]) if strange else len(levels)}")
    for low, high in pairwise(levels):
        if low >= high:
            raise ValueError(f"{wanted}, got {shown(low)} before {shown(high)}")
    if last is not None and levels[-1] > last:
        raise ValueError(f"levels must be in 1..{last}, got {shown(levels[-1])}")


def check_learned(steps: int, learned: Sequence[int]) -> None:
    """Raise ValueError unless a distilled model has learned to sample in this number of steps."""
    if steps not in learned:
        *first, last = sorted(learned)
        known = f"{', '.join(map(str, first))} or {last}" if first else str(last)
        raise ValueError(
            f"this model is distilled for {known} steps, got {steps}; pass steps={learned[0]}"
        )
