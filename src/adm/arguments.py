"""Argument of a public function, types or limits -> ValueError unless it is within them."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf, isfinite

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


def check_levels(levels: Sequence[float], last: int | None = None) -> None:
    """Raise ValueError unless these are levels that a sampler can visit.

    Args:
        last: T of the process; None if it is not known yet.
    """
    least = f"levels must be at least 2 ascending numbers in 1..{'T' if last is None else last}"
    if len(levels) < 2:
        raise ValueError(f"{least}, got {len(levels)}")
    most = inf if last is None else last
    strange = [level for level in levels if not (isfinite(level) and 1 <= level <= most)]
    if strange:
        raise ValueError(f"{least}, got {shown(strange[0])}")
    for low, high in pairwise(levels):
        if low >= high:
            raise ValueError(f"{least}, got {shown(low)} before {shown(high)}")
