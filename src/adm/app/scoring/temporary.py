"""Number of bytes -> temporary file with room for them, which nobody else can open."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from adm.store.files import FULL


class NoRoom(ValueError):
    """The temporary folder cannot hold a file; the message names it and TMPDIR."""


@contextmanager
def temporary(size: int, what: str) -> Iterator[IO[bytes]]:
    """Open a temporary file of `size` bytes, all of which are reserved on the disk.

    Writing to a memory map of a file without that room would kill the process once the disk is
    full.

    Args:
        what: what the bytes are, for the error.

    Raises:
        NoRoom: the temporary folder is full, or there is none.
    """
    needs = f"{what} needs {size:,} bytes"
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - its error is another than the block's
    except OSError as error:
        raise _no_room(needs, error) from None
    with file:
        try:
            _reserve(file, size)
        except (OSError, OverflowError) as error:
            raise _no_room(needs, error) from None
        yield file


@contextmanager
def room_told(what: str) -> Iterator[None]:
    """Raise NoRoom if the block, which writes to the temporary folder, finds the disk full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_room(f"room for {what} is needed", error) from None


def _reserve(file: IO[bytes], size: int) -> None:
    file.truncate(size)  # fails beyond the largest file of the system
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def _no_room(needs: str, error: Exception) -> NoRoom:
    folder = "the temporary folder"
    with suppress(OSError):  # there is none that can be written
        folder += f" {tempfile.gettempdir()}"
    return NoRoom(
        f"{needs} in {folder} ({error}); free space there, or set the environment variable TMPDIR "
        "to a folder with more"
    )
