"""JSON text, file, value -> typed value, by pydantic, or ValueError with the reason.

The reader of each format states its schema as a type: a frozen dataclass, a TypedDict, a number
within bounds. A value that passes needs no further check.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from adm.shown import printable, short
from adm.spec import refusal

T = TypeVar("T")
LONGEST_REASON = 200  # characters
MOST_ERRORS = 1000  # of a value, beyond which they are only counted: each takes 1 kB
SETTINGS = 1 << 20  # bytes; those of this package have thousands
CLASSES = 1 << 24  # the names of a million classes, or the scores of a hundred thousand


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


def read_json(path: Path, most: int = SETTINGS) -> Any:
    """Read a JSON file.

    Args:
        most: bytes that it may have. Its value takes up to 30 times as many in memory.

    Raises:
        ValueError: the file is not JSON, or larger. The message is only the reason, to which the
            caller adds the path and the cure.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return parse_json(file.read(most + 1), most)


def cached_json(path: Path, most: int = SETTINGS) -> dict[str, Any] | None:
    """Read a JSON object that an earlier call may have written; None if absent or damaged.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        value = read_json(path, most)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def parse_json(content: bytes | str, most: int = SETTINGS) -> Any:
    """Parse untrusted JSON, in which pydantic bounds the depth.

    Args:
        content: text, or bytes of UTF-8.
        most: as of `read_json`.

    Raises:
        ValueError: the content is not JSON, too large, or nested too deep. The message is only the
            reason.
    """
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return from_json(content)


def through_json(value: Any) -> Any:
    """Return a value as it is read back from JSON: tuples are lists, and keys are strings."""
    return json.loads(json.dumps(value))
