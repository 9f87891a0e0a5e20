"""Path, limit -> stream or bytes of a regular file; a pipe or a device is refused at once."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from adm.shown import shown_path

MAX_BYTES = 1 << 29  # of one encoded image
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Args:
        limit: largest size in bytes; None for any.

    Raises:
        ValueError: another kind of file, which might be read without end, or a larger one.
        OSError: it cannot be opened.
    """

    def opened(name: str, flags: int) -> int:
        try:
            # Without waiting: a pipe is opened only once another process writes into it.
            handle = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            _check(os.stat(name), path, limit)  # a socket cannot be opened
            raise
        try:
            _check(os.fstat(handle), path, limit)
        except ValueError:
            os.close(handle)
            raise
        return handle

    return open(path, "rb", opener=opened)


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; the errors are those of `open_regular`."""
    with open_regular(path, limit) as file:
        return file.read(limit)


def check_size(size: int, path: object, limit: int) -> None:
    """Raise ValueError if a file has more bytes than the limit."""
    if size > limit:
        raise ValueError(f"{shown_path(path)} has {size} bytes, over {limit}; remove it")


def _check(facts: os.stat_result, path: str | Path, limit: int | None) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = next((name for test, name in KINDS if test(facts.st_mode)), "no regular file")
        raise ValueError(f"{shown_path(path)} is {kind}, expected a file; remove or replace it")
    if limit is not None:
        check_size(facts.st_size, path, limit)
