"""JSON value, JSON value -> the first entry in which they differ, for a message, or None."""

from collections.abc import Collection
from typing import Any

from adm.shown import printable, short, shown

MOST_ENTRIES = 8  # of a list that a message shows whole


def first_difference(
    stored: object, requested: object, free: Collection[str] = (), path: str = ""
) -> str | None:
    """Return the first entry in which two JSON values differ, with both values, or None.

    Args:
        stored, requested: the value in a file, and the one to compare with it; the message calls
            them "there" and "here".
        free: entries that may differ, such as "recipe.watch".
        path: path of both values in the file.
    """
    if path in free or stored == requested:
        return None
    # An entry that one side lacks differs in the first of its own, such as `classifier.recipe`.
    if None in (stored, requested) and (one := stored or requested) and isinstance(one, dict):
        stored, requested = stored or {}, requested or {}
    if isinstance(stored, dict) and isinstance(requested, dict):
        for key in {**stored, **requested}:
            inner = f"{path}.{key}" if path else str(key)
            if difference := first_difference(stored.get(key), requested.get(key), free, inner):
                return difference
        return None
    if isinstance(stored, list) and isinstance(requested, list) and _comparable(stored, requested):
        index = next(i for i, value in enumerate(stored) if value != requested[i])
        return first_difference(stored[index], requested[index], free, f"{path}[{index}]")
    return f"{short(printable(path))} is {_shown(stored)} there and {_shown(requested)} here"


def _comparable(stored: list[Any], requested: list[Any]) -> bool:
    """Whether a difference of two lists is better shown by its first entry."""
    long = len(stored) > MOST_ENTRIES or any(isinstance(value, dict) for value in stored)
    return long and len(stored) == len(requested)


def _shown(value: object) -> str:
    """Return a value for a message, shortened if it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, list) and len(value) > MOST_ENTRIES:
        return f"a list of {len(value)}"
    return shown(value)
