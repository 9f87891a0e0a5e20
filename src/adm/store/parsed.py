"""JSON text, file, value -> typed value, within limits, or ValueError with the reason.

The reader of each format states its schema as a type: a frozen dataclass, a TypedDict, a number
within bounds. A value that passes needs no further check.
"""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from adm.shown import printable, short, shown
from adm.spec import refusal

T = TypeVar("T")
LONGEST_REASON = 200  # characters
MOST_ERRORS = 1000  # of a value, beyond which they are only counted: each takes 1 kB
MOST_DEPTH = 64  # of nested lists and objects; files of this package have fewer than ten


class Room(NamedTuple):
    """Limits of a JSON text, so that its value takes less than 1 GB.

    Three bytes of text can be a list or an object, of which each takes 60 to 500 bytes in memory.
    The signs of a text are counted before it is parsed, also those within strings.

    Attributes:
        size: bytes, or characters of a `str`.
        commas, quotes, colons, brackets: how often these occur, at most; opening brackets, of lists
            and objects together.
    """

    size: int = 1 << 20
    commas: int = 1 << 20
    quotes: int = 1 << 20
    colons: int = 1 << 20
    brackets: int = 1 << 20


SIGNS = {"commas": (b",",), "quotes": (b'"',), "colons": (b":",), "brackets": (b"[", b"{")}
SETTINGS = Room()  # those of this package have thousands of bytes
# The names of a million classes, or the scores of a hundred thousand.
CLASSES = Room(1 << 24, commas=1 << 21, quotes=1 << 22, brackets=1 << 17)


def as_type(kind: type[T], value: Any) -> T:
    """Return a JSON value as a typed value; nothing is converted but lists to tuples.

    Args:
        kind: any type that pydantic validates, such as `Annotated[int, Field(ge=0)]` or a frozen
            dataclass. Keys that a dataclass does not declare are refused or dropped as its
            `__pydantic_config__` says.

    Raises:
        ValueError: the value has another type, or is out of range. The message is only the reason:
            the place, what was expected, and what was found.
    """
    try:
        # In the mode of JSON, tuples are read from lists; strictly, "5" is no number.
        return _adapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        if error.error_count() > MOST_ERRORS:
            raise ValueError(f"it is wrong in {error.error_count()} places") from None
        reason = str(refusal(error.errors(include_url=False)))
        whole = "it" if reason.startswith(" ") else ""  # no part of it is to blame
        raise ValueError(short(printable(whole + reason), LONGEST_REASON)) from None
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON value ({error})") from None


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)


def read_json(path: Path, room: Room = SETTINGS) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not JSON, or exceeds the room. The message is only the reason, to
            which the caller adds the path and the cure.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return parse_json(file.read(room.size + 1), room)


def cached_json(path: Path, room: Room = SETTINGS) -> dict[str, Any] | None:
    """Read a JSON object that an earlier call may have written; None if absent or damaged.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        value = read_json(path, room)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def parse_json(content: bytes | str, room: Room = SETTINGS) -> Any:
    """Parse untrusted JSON.

    Args:
        content: text, or bytes in any Unicode encoding.

    Raises:
        ValueError: the content is not JSON, is larger than its room, is nested deeper than
            `MOST_DEPTH`, or an object has a key twice. The message is only the reason.
    """
    _check_room(content, room)
    try:
        value = json.loads(content, object_pairs_hook=_unique)
        deep = _depth(value) > MOST_DEPTH
    except RecursionError:
        deep, value = True, None
    if deep:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    return value


def _check_room(content: bytes | str, room: Room) -> None:
    if len(content) > room.size:
        raise ValueError(f"it has more than {room.size} bytes")
    text = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    for name, signs in SIGNS.items():
        if sum(map(text.count, signs)) > (most := getattr(room, name)):
            raise ValueError(f"it has more than {most} {name}")


def through_json(value: Any) -> Any:
    """Return a value as it is read back from JSON: tuples are lists, and keys are strings."""
    return json.loads(json.dumps(value))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs; of two values of a key, readers take different ones."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"it has the key {shown(max(counts, key=counts.__getitem__))} twice")
    return unique


def _depth(value: Any) -> int:
    """Return the depth of nested lists and objects; 0 for a number."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [
            child for each in level for child in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
