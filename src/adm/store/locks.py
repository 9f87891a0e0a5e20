"""Folder -> its lock, which one living process holds; the system releases it when that ends."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

FILE = ".lock"
ATTEMPTS = 100  # of creating a folder that others remove as soon as it is empty


class InUse(ValueError):
    """Raised if another process holds the lock of a folder."""


@contextmanager
def locked(
    folder: Path, name: str = FILE, *, wait_s: float = 0.0, of: Path | None = None
) -> Iterator[None]:
    """Hold the lock of a folder until the block ends; create the folder if it is absent.

    A folder that was created, and that nothing was written to, is removed again. A lock that a
    killed process has left is free.

    Args:
        name: of the lock file. A folder may have several locks, such as one for each of its files.
        wait_s: how long to wait for another process, in seconds.
        of: what the lock is of, if that is not the folder: an error names it.

    Raises:
        InUse: another process holds it.
        OSError: the folder cannot be written to.
    """
    path, created, of = folder / name, not folder.exists(), of or folder
    # Not of a thread: a generator that holds it may be closed by another one.
    lock = FileLock(path, timeout=wait_s, thread_local=False)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise InUse(
            f"{of} is in use by another process; wait until that ends, stop it, or choose "
            "another place"
        ) from None
    except OSError as error:
        raise OSError(
            error.errno,
            f"{folder} cannot be written to ({error.strerror}); make it writable, or choose "
            "another place",
        ) from None
    if name == FILE:
        _remove_left(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # removed while locked: the next process creates a new one
            path.unlink()
        lock.release()
        if created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _acquire(lock: FileLock, folder: Path) -> None:
    """Create the folder and acquire a lock in it, again if its last holder removes it between."""
    for attempt in range(ATTEMPTS):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            return
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise


def _remove_left(folder: Path) -> None:
    """Remove the locks of files that a process was killed with after it had written them."""
    for path in folder.glob(".*.lock"):
        with suppress(Timeout, OSError), FileLock(path, timeout=0):
            path.unlink()
