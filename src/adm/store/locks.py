"""Folder -> lock, which one living process holds; the system releases it when the process ends."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adm.shown import shown
from adm.store.parsed import cached_json

try:
    import fcntl
except ImportError:  # not on Windows, where folders are not locked
    fcntl = None

FILE = ".lock"
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


class InUse(ValueError):
    """Raised if another process holds the lock of a folder."""


@contextmanager
def locked(folder: Path, name: str = FILE) -> Iterator[None]:
    """Hold the lock of a folder until the block ends; create the folder if it is absent.

    A folder that was created, and that nothing was written to, is removed again. A lock that a
    killed process has left is free. On file systems without locks, nothing is held.

    Args:
        name: of the lock file. A folder may have several locks, such as one for each of its files.

    Raises:
        InUse: another process holds it; names its process id and host.
        OSError: the folder cannot be written to.
    """
    path, created = folder / name, not folder.exists()
    handle = _taken(path)
    try:
        with suppress(OSError):  # the disk is full
            os.truncate(handle, 0)
            os.write(handle, json.dumps(_holder()).encode())
        yield
    finally:
        with suppress(OSError):  # removed before it is released, so that no other process holds it
            path.unlink()
        os.close(handle)
        if created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def check_free(folder: Path, name: str = FILE) -> None:
    """Raise InUse if another process holds the lock of a folder, without taking it."""
    with suppress(OSError), (folder / name).open("rb") as file:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder / name) from None


def _taken(path: Path) -> int:
    """Open and lock a file; return its descriptor."""
    while True:
        handle = _opened(path)
        try:
            if fcntl is None:
                return handle
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _in_use(path) from None
        except OSError:  # the file system has no locks
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # the holder has removed the file in the meantime


def _opened(path: Path) -> int:
    """Open or create a file, and its folder; return its descriptor."""
    while True:  # again if another process has removed the folder, which it did not write to
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                # A link is not followed, because the file that it leads to would be cut to nothing.
                return os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{path.parent} cannot be written to ({error.strerror}); make it writable, or "
                "choose another folder",
            ) from None


def _holder() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _in_use(path: Path) -> InUse:
    held = {}
    with suppress(OSError):
        held = cached_json(path) or {}
    pid, host, since = (held.get(key, "unknown") for key in ("pid", "host", "since"))
    return InUse(
        f"{path.parent} is in use by process {shown(pid)} on {shown(host)} since {shown(since)}; "
        "wait until it ends, stop it, or choose another folder"
    )
