"""Any, str -> text for a message: short, on one line, without control characters."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

LONGEST = 80  # characters of a value in a message
LONGEST_PATH = 300  # characters of a path or an address in a message
# Characters that a terminal acts upon: controls, surrogates of undecodable bytes, and formats such
# as those that reverse the direction of writing.
ACTING = ("Cc", "Cs", "Cf", "Zl", "Zp")
HARMLESS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # which emoji and scripts need


def shown(value: Any, longest: int = LONGEST) -> str:
    """Return the `repr` of a value, shortened in the middle, with control characters escaped."""
    try:
        text = repr(_ends(value, longest))  # `repr` of the whole may be long work
    except (RecursionError, ValueError):  # nested too deep; an int of too many digits
        text = f"a {type(value).__name__}"
    return short(printable(text), longest)


def _ends(value: Any, longest: int) -> Any:
    """Return a value without the middle of long texts and lists, which `shown` omits."""
    if type(value) not in (str, list, dict):
        return value
    parts: Any = value if isinstance(value, str) else list(getattr(value, "items", lambda: value)())
    if len(parts) > 2 * longest:
        parts = parts[:longest] + parts[-longest:]
    if isinstance(parts, str):
        return parts
    if isinstance(value, dict):
        return {_ends(key, longest): _ends(each, longest) for key, each in parts}
    return [_ends(each, longest) for each in parts]


def format_number(number: float) -> str:
    """Return the shortest text that identifies a number, such as 4, 0.5 or 0.12345671."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)


def short(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most `longest` characters, with an ellipsis for the rest."""
    if len(text) <= longest:
        return text
    tail = longest // 4
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def reason_of(error: Exception) -> str:
    """Return the message of an error; of a system error, without its number and path."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def count_of(number: int, one: str, more: str | None = None) -> str:
    """Such as "2 classes" for (2, "class", "classes"); the default plural adds an s."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def abbreviated(names: Sequence[str], most: int) -> str:
    """Return the first of some names for a message, and an ellipsis for more."""
    listed = ", ".join(short(printable(name)) for name in names[:most])
    return f"{listed}, ..." if len(names) > most else listed


def shown_path(path: object) -> str:
    """Return a path or an address for a message: shortened, with control characters escaped."""
    return short(printable(str(path)), LONGEST_PATH)


def printable(text: str) -> str:
    """Return a text in which characters that a terminal would act upon are escaped.

    A newline becomes `\\n` as well; lines are the caller's.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) for each in text)


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, except for its newlines and tabs."""
    parts = re.split(r"([\n\t])", text)
    parts[::2] = map(printable, parts[::2])
    return "".join(parts)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in ACTING or character in HARMLESS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()
