"""Lowest and highest level, levels visited -> those within: where guides act and noise is added."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from adm.spec import out_of_range

Ends: TypeAlias = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


def _ascending(ends: Ends) -> Ends:
    if ends[0] > ends[1]:
        raise out_of_range("", "two levels, the lower one first", ends)
    return ends


Interval: TypeAlias = Annotated[Ends, AfterValidator(_ascending)]


def check_within(interval: Interval | None, last: int, field: str) -> None:
    """Raise SettingError, which names the field, unless an interval is within levels 0..`last`."""
    if interval is not None and interval[1] > last:
        raise out_of_range(field, f"within levels 0..{last}", interval)


def visited_within(interval: Interval | None, levels: Sequence[float]) -> Interval | None:
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
