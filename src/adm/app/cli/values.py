"""Words of the command line, type -> numbers and paths, or ValueError: the first look at them."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from cyclopts import Token, convert

from adm.shown import printable, shown

WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
BEYOND = 1 << 64  # no whole number that a command takes is as large
PIPES = (stat.S_ISFIFO, stat.S_ISSOCK)


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
        return any(is_one(mode) for is_one in PIPES)
    return False


def whole(word: str) -> int:
    """Read a whole number; raise ValueError for any other word."""
    word = word.strip()
    if not WHOLE.fullmatch(word):
        raise ValueError(f"expected a whole number, got {_told(word)}")
    if len(word) > len(str(BEYOND)) or abs(int(word)) >= BEYOND:
        raise ValueError(f"expected a whole number below 2^64, got {_told(word)}")
    return int(word)


def number(word: str) -> float:
    """Read a finite number; raise ValueError for any other word."""
    word = word.strip()
    if word.lstrip("+-").lower() in ("nan", "inf", "infinity"):
        raise ValueError(f"expected a finite number, got {_told(word)}")
    if not NUMBER.fullmatch(word):
        raise ValueError(f"expected a number, got {_told(word)}")
    if not isfinite(value := float(word)):
        raise ValueError(f"expected a finite number, got {_told(word)}")
    return value


def path(word: str) -> Path:
    """Read a path; raise ValueError for an empty one, which would be the current folder."""
    if not word:
        raise ValueError("the path is empty; give one, or . for the current folder")
    return Path(word)


READERS = {int: whole, float: number, Path: path}


def converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert as cyclopts does, but read numbers and paths by the functions above.

    Options that take several of them have converters of their own; see `adm.app.cli.lists`.
    """
    kinds = [kind for kind in get_args(type_) or (type_,) if kind is not NoneType]
    if len(kinds) == 1 and kinds[0] in READERS:
        return READERS[kinds[0]](tokens[0].value)
    return convert(type_, tokens)


def _told(word: str) -> str:
    return printable(word) or "nothing"
