"""Number of bytes -> temporary file with room for them, which nobody else can open."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO


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
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - its error is another than the block's
    except OSError as error:
        raise _no_room(size, what, error) from None
    with file:
        try:
            _reserve(file, size)
        except OSError as error:
            raise _no_room(size, what, error) from None
        yield file


def _reserve(file: IO[bytes], size: int) -> None:
    file.truncate(size)  # fails beyond the largest file of the system
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def _no_room(size: int, what: str, error: OSError) -> NoRoom:
    folder = "the temporary folder"
    with suppress(OSError):  # there is none that can be written
        folder += f" {tempfile.gettempdir()}"
    return NoRoom(
        f"{what} needs {size:,} bytes in {folder} ({error.strerror}); free space there, or set the "
        "environment variable TMPDIR to a folder with more"
    )
