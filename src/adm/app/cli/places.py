"""Path to write -> ValueError or OSError if it cannot be written, before any work; or nothing."""

import errno
import os
import tempfile
from pathlib import Path

LONGEST_NAME = 240  # bytes; temporary names are longer, and file systems permit 255
IS_NOTHING = (errno.ENOENT, errno.ENOTDIR)


def file(path: Path, flag: str, example: str) -> None:
    """Refuse a path that is a folder, or where no file can be created."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give {flag} a file, such as {path / example}")
    creatable(path, flag)


def folder(out: Path, holds: str) -> None:
    """Refuse a folder that cannot be created or that holds anything, unless it has this file."""
    replaceable(out)
    if _is_other(out) or (out.is_dir() and any(out.iterdir()) and not (out / holds).exists()):
        raise FileExistsError(f"{out} already exists and is not empty; choose another folder")


def resumable(out: Path, what: str) -> None:
    """Refuse a file where a folder is to be written or to be resumed, or where none can be."""
    if _is_other(out):
        raise ValueError(f"{out} is a file, and {what} a folder; choose another --out")
    creatable(out, "--out")


def replaceable(out: Path) -> None:
    """Refuse a folder that cannot be created, or replaced by a new one."""
    creatable(out, "--out")
    if Path.cwd().is_relative_to(os.path.realpath(out)):
        raise ValueError(
            f"{out} is or holds the current folder, which stays; choose another --out, such as "
            f"{out / 'out'}"
        )


def creatable(path: Path, flag: str) -> None:
    """Refuse a path that can neither be created nor be written.

    Raises:
        ValueError: a parent of it is a file.
        OSError: it is a link to itself, its name is too long, or its folder cannot be written.
    """
    for parent in path.parents:
        if _is_other(parent):
            raise ValueError(
                f"{parent} is a file, and {path} would be in it; choose another {flag}"
            )
        if parent.is_symlink() and not _exists(parent):
            raise ValueError(f"{parent} is a link to a folder that is not there; create it first")
    there, real = _exists(path), Path(os.path.realpath(path))
    if len(os.fsencode(real.name)) > LONGEST_NAME:
        raise _refused(errno.ENAMETOOLONG, path)
    if there and (path.is_dir() or not path.is_file()):
        _check_access(real)
    else:
        _check_access(next(parent for parent in real.parents if parent.exists()))


def _is_other(path: Path) -> bool:
    """Whether a path exists and is no folder."""
    return path.exists() and not path.is_dir()


def _exists(path: Path) -> bool:
    """Whether a path exists; raise OSError if the system cannot tell, as for a link to itself."""
    try:
        path.stat()
    except OSError as error:
        if error.errno not in IS_NOTHING:
            raise
        return False
    return True


def _check_access(place: Path) -> None:
    """Raise the error that writing would raise."""
    if not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
        flags = os.statvfs(place).f_flag if hasattr(os, "statvfs") else 0
        is_fixed = flags & getattr(os, "ST_RDONLY", 1)
        raise _refused(errno.EROFS if is_fixed else errno.EACCES, place)
    if place.is_dir():
        try:
            with tempfile.TemporaryFile(dir=place):  # which file systems of the system refuse
                pass
        except OSError as error:
            raise OSError(
                error.errno, f"{place} cannot be written ({error.strerror}); choose another path"
            ) from None


def _refused(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
