"""JSON value, JSON value -> the first entry in which they differ, for a message, or None."""

from collections.abc import Collection
from typing import Any

from adm.shown import printable, short, shown

MOST_ENTRIES = 8  # of a list that a message shows whole


def first_difference(
    held: object, asked: object, free: Collection[str] = (), path: str = ""
) -> str | None:
    """Return the first entry in which two JSON values differ, with both values, or None.

    Args:
        held, asked: the value of a file, and the one that is wanted; the message says "there" of
            the first, and "here" of the second.
        free: entries that may differ, such as "recipe.watch".
        path: the place of both values in the file.
    """
    if path in free or held == asked:
        return None
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in {**held, **asked}:
            here = f"{path}.{key}" if path else str(key)
            if found := first_difference(held.get(key), asked.get(key), free, here):
                return found
        return None
    if isinstance(held, list) and isinstance(asked, list) and _comparable(held, asked):
        place = next(i for i, value in enumerate(held) if value != asked[i])
        return first_difference(held[place], asked[place], free, f"{path}[{place}]")
    return f"{short(printable(path))} is {_shown(held)} there and {_shown(asked)} here"


def _comparable(held: list[Any], asked: list[Any]) -> bool:
    """Whether a difference of two lists is better shown as that of one entry."""
    long = len(held) > MOST_ENTRIES or any(isinstance(value, dict) for value in held)
    return long and len(held) == len(asked)


def _shown(value: object) -> str:
    """Return a value for a message, which is shortened if it is long."""
    if isinstance(value, list) and len(value) > MOST_ENTRIES:
        return f"a list of {len(value)}"
    return shown(value)
