"""Words of the command line -> numbers, paths and lists of them, by commas or spaces.

An option with several values takes them as `0,1`, `0 1` or `"0, 1"`. It takes all words up to the
next option, so the arguments without an option come first.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

from cyclopts import Parameter, Token, convert

from adm.data.naming import at_home
from adm.shown import printable, shown

T = TypeVar("T")
WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
BEYOND = 1 << 64  # no whole number that a command takes is as large
SIZE = r"\s*([0-9]+)(?:(?:\s*[,x]\s*|\s+)([0-9]+))?\s*"  # H, HxW, or H and W


def check_words(words: Iterable[str]) -> None:
    """Raise ValueError for words that no option takes.

    These are words with bytes that are no text, and names of pipes, which have no end. Pipes of the
    shell, such as /dev/stdin, pass.
    """
    for word in words:
        if "\0" in word:
            raise ValueError(f"{shown(word)} holds a NUL character; remove it")
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{shown(word)} is not UTF-8; rename the file or folder, or write it in UTF-8"
            ) from None
        value = word.partition("=")[2] if word.startswith("-") else word
        if value and not value.startswith(("/dev/", "/proc/")) and _is_pipe(value):
            raise ValueError(f"{value} is a pipe; give a file or a folder")


def _is_pipe(value: str) -> bool:
    with suppress(OSError):  # not a path
        mode = os.stat(value).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return False


def whole(word: str) -> int:
    """Read a whole number; raise ValueError for any other word."""
    word = word.strip()
    if not WHOLE.fullmatch(word):
        raise ValueError(f"expected a whole number, got {printable(word) or 'nothing'}")
    if len(word) > len(str(BEYOND)) or abs(int(word)) >= BEYOND:
        raise ValueError(f"expected a whole number below 2^64, got {word}")
    return int(word)


def number(word: str) -> float:
    """Read a finite number; raise ValueError for any other word."""
    word = word.strip()
    is_named = word.lstrip("+-").lower() in ("nan", "inf", "infinity")
    if not is_named and not NUMBER.fullmatch(word):
        raise ValueError(f"expected a number, got {printable(word) or 'nothing'}")
    if is_named or not isfinite(float(word)):
        raise ValueError(f"expected a finite number, got {word}")
    return float(word)


def path(word: str) -> Path:
    """Read a path; raise ValueError for an empty one, which would be the current folder."""
    if not word:
        raise ValueError("the path is empty; give one, or . for the current folder")
    return at_home(word)


READERS = {int: whole, float: number, Path: path}


def converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert as cyclopts does, but read single numbers and paths by the functions above."""
    kinds = [kind for kind in get_args(type_) or (type_,) if kind is not NoneType]
    if len(kinds) == 1 and kinds[0] in READERS:
        return READERS[kinds[0]](tokens[0].value)
    return convert(type_, tokens)


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

    def read(type_: Any, tokens: Sequence[Token]) -> tuple[T, ...]:
        try:
            values = tuple(parse(part) for token in tokens for part in parts(token.value))
        except ValueError:
            values = ()
        return values or _refuse(tokens, example)

    return Parameter(converter=read, consume_multiple=(1, None), negative="", show_default=_written)


def _written(values: Sequence[object] | None) -> str | None:
    """Write values with commas, as an option takes them."""
    if values is None:
        return None
    return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values)


def _refuse(tokens: Sequence[Token], example: str) -> Any:
    words, flag = " ".join(token.value for token in tokens), tokens[0].keyword
    raise ValueError(f"cannot read {flag} {shown(words)}; write {flag} {example}")


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
    match = re.fullmatch(SIZE, " ".join(token.value for token in tokens))
    sides = [whole(side) for side in match.groups() if side] if match else []
    if not sides or min(sides) < 1:
        _refuse(tokens, f"64 or {tokens[0].keyword} 48,64")
    return sides[0], sides[-1]


# A comma in the type that cyclopts reads, (int, ...), lets the option take one word or two.
Size = Annotated[
    tuple[int, ...] | None, Parameter(converter=_size, consume_multiple=(1, None), negative="")
]
# The words of a classes spec, which `joined` joins again; the spec has its own rules.
CLASSES = Parameter(consume_multiple=(1, None), negative="", show_default=_written)
RENAMES = several(str, "old=new", split_renames)


def joined(classes: Sequence[str] | None) -> str | None:
    """Join the words of a classes spec by commas."""
    return None if classes is None else ",".join(classes)


def height_and_width(size: Sequence[int] | None) -> tuple[int, int] | None:
    """Return a `Size` as (H, W)."""
    return None if size is None else (size[0], size[-1])
