"""Words of the command line -> lists of numbers, names, sizes, by commas or spaces.

An option with several values takes them as `0,1`, `0 1` or `"0, 1"`. It takes all words up to the
next option, so the arguments without an option come first.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter, Token

from adm.app.cli.values import number, whole
from adm.shown import shown

T = TypeVar("T")
SIZE = r"\s*([0-9]+)(?:(?:\s*[,x]\s*|\s+)([0-9]+))?\s*"  # H, HxW, or H and W


def split(word: str) -> list[str]:
    """Split a word at its commas, unless it is the path of a file or a folder."""
    with suppress(OSError, RuntimeError):  # not a path; no such home
        if word and Path(word).expanduser().exists():
            return [word]
    return [part.strip() for part in word.split(",") if part.strip()]


def split_numbers(word: str) -> list[str]:
    """Split a word at its commas and spaces."""
    return word.replace(",", " ").split()


def split_renames(word: str) -> list[str]:
    """Split old=new,old=new at its commas; a comma without `=` on both sides is of a name."""
    parts = split(word)
    return parts if all("=" in part for part in parts) else [word]


def several(
    parse: Callable[[str], T], example: str, parts: Callable[[str], list[str]] = split
) -> Parameter:
    """Return the form of an option that takes several values.

    Args:
        parse: converts one value; raises ValueError for others.
        example: values, for the error.
        parts: splits a word into values.
    """

    def convert(type_: Any, tokens: Sequence[Token]) -> tuple[T, ...]:
        try:
            found = tuple(parse(part) for token in tokens for part in parts(token.value))
        except ValueError:
            found = ()
        return found or _refuse(tokens, example)

    return Parameter(
        converter=convert, consume_multiple=(1, None), negative="", show_default=_as_words
    )


def _as_words(values: Sequence[object] | None) -> str | None:
    """Write values with commas, as an option takes them."""
    if values is None:
        return None
    return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)


def _refuse(tokens: Sequence[Token], example: str) -> Any:
    given = " ".join(token.value for token in tokens)
    flag = tokens[0].keyword
    raise ValueError(f"cannot read {flag} {shown(given)}; write {flag} {example}")


def numbers(example: str) -> Parameter:
    """Return the form of an option that takes several numbers."""
    return several(number, example, split_numbers)


def whole_numbers(example: str) -> Parameter:
    """Return the form of an option that takes several whole numbers."""
    return several(whole, example, split_numbers)


def names(example: str) -> Parameter:
    """Return the form of an option that takes several names or paths."""
    return several(str, example)


def _size(type_: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    found = re.fullmatch(SIZE, " ".join(token.value for token in tokens))
    sides = [whole(side) for side in found.groups() if side] if found else []
    if not sides or min(sides) < 1:
        _refuse(tokens, f"64 or {tokens[0].keyword} 48,64")
    return sides[0], sides[-1]


# A comma in the type that cyclopts reads, (int, ...), lets the option take one word or two.
Size = Annotated[
    tuple[int, ...] | None, Parameter(converter=_size, consume_multiple=(1, None), negative="")
]
# The words of a classes spec, which `joined` makes one again; its own rules split and read it.
CLASSES = Parameter(consume_multiple=(1, None), negative="", show_default=_as_words)
RENAMES = several(str, "old=new", split_renames)


def joined(classes: Sequence[str] | None) -> str | None:
    """Join the words of a classes spec by commas."""
    return None if classes is None else ",".join(classes)


def height_and_width(size: Sequence[int] | None) -> tuple[int, int] | None:
    """Return a `Size` as (H, W)."""
    return None if size is None else (size[0], size[-1])
