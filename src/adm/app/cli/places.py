"""Path to write -> ValueError or OSError if it cannot be written, before long work; or nothing."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def file(path: Path, flag: str, example: str, holds: str | None = None) -> None:
    """Refuse a path that is a folder, or where no file can be written.

    Args:
        flag, example: option and example of the file, for messages.
        holds: contents of the file, if its suffix must be that of the example.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give {flag} a file, such as {path / example}")
    writable(path)
    suffix = Path(example).suffix
    if holds is not None and path.suffix.lower() != suffix:
        kind = f"{'an' if suffix in ('.html', '.npz') else 'a'} {suffix} file"
        raise ValueError(
            f"the {holds} is {kind}, got {flag} {path}; give {flag} {path.name}{suffix}"
        )


def folder(out: Path, holds: str | None = None) -> None:
    """Refuse a folder that cannot be written, or that is not empty and lacks the file `holds`."""
    writable(out)
    if Path.cwd().is_relative_to(os.path.realpath(out)):
        raise ValueError(
            f"{out} is or holds the current folder, which stays; choose another --out, such as "
            f"{out / 'out'}"
        )
    ours = holds is not None and (out / holds).exists()
    full = out.is_dir() and any(out.iterdir()) and not ours
    if full or (out.exists() and not out.is_dir()):
        raise FileExistsError(f"{out} already exists and is not empty; choose another folder")


def resumable(out: Path, what: str) -> None:
    """Refuse a file where a folder is to be written or to be resumed, or where none can be."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, and {what} a folder; choose another --out")
    if os.path.realpath(out) == Path(os.path.realpath(out)).anchor:
        raise ValueError(
            f"{out} is the root of the disk, and {what} a folder of its own; choose another --out, "
            f"such as {out / 'out'}"
        )
    writable(out)


def writable(path: Path) -> None:
    """Raise the OSError that writing a file or a folder at a path would raise."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # its name is too long, or it is a link to itself
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        if place == path.absolute() and os.access(path, os.W_OK):
            return
        number = errno.EACCES if place == path.absolute() else errno.ENOTDIR
        raise OSError(number, os.strerror(number), str(path))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
