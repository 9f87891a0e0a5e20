"""Path, content -> file or folder that appears whole, or not at all.

What is being written has a hidden name beside its final one, and a lock: `.NAME.part` is the folder
of a file, and `.NAME.parts` the work folder of a folder. A process that is killed leaves them; the
next one that writes to the same place removes them.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from adm.store.locks import InUse, locked

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk without room
LONGEST_NAME = 200  # bytes of a name that hidden names contain; file systems allow 255
WAIT_S = 60.0  # for another process that writes the same file
NEW, OLD = "new", "old"  # in a work folder: the folder that is written, and the one it replaces


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a path in a hidden folder beside `path`, and rename it to `path` when the block ends.

    A reader finds the old file or the new one, never a part of it. If the block raises, the old
    file remains. Libraries may write other files into the folder, which goes with them. Parent
    folders are created. Links are followed. A path that is not a regular file, such as a pipe or
    /dev/stdout, is yielded itself.

    Args:
        sync: whether the content is on the disk before the file has its name, so that it survives a
            power failure. False is faster, for files that are easily written again.

    Raises:
        OSError: the file cannot be written.
        InUse: another process has been writing it for `WAIT_S`.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path  # a circle of links, too
    part = _beside(target, "part")
    lock = locked(target.parent, _beside(target, "lock").name, wait_s=WAIT_S, of=target)
    with naming(path, part), lock:
        remove(part)
        try:
            part.mkdir()
            yield (new := part / target.name)
            if sync:
                fsync(new)
            os.replace(new, target)
        finally:
            with suppress(OSError):  # the error of the block matters more
                remove(part)


@contextmanager
def work_folder(out: Path, wait_s: float = 0.0) -> Iterator[Path]:
    """Lock the work folder of `out` until the block ends; yield its path.

    It is beside `out`. What the block leaves in it remains for a later call.
    That it can be created shows, before any work, that `out` can be written.

    Args:
        wait_s: how long to wait for another process, in seconds.

    Raises:
        InUse: another process writes `out`.
        OSError: `out` cannot be written, or is a circle of links.
    """
    work = work_path(out)
    out = out.resolve()
    try:
        with locked(work, wait_s=wait_s, of=out):
            if (work / OLD).exists() and not out.exists():  # killed between the two renames
                (work / OLD).rename(out)
            for left in (NEW, OLD):
                remove(work / left)
            yield work
    finally:
        with suppress(OSError):  # something was left in it, or another process has it
            work.rmdir()


@contextmanager
def new_folder(out: Path, replace: bool = False, work: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder, and rename it to `out` when the block ends.

    If the block raises, `out` is unchanged.

    Args:
        replace: whether to replace an existing folder, once the new one is complete.
        work: the work folder of `out`, if the caller has locked it; emptied once `out` exists.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty without `replace`.
        InUse: another process writes `out`.
    """
    _check_free(out, replace)
    if work is None:
        with work_folder(out) as own, new_folder(out, replace, own) as folder:
            yield folder
        return
    out, part = out.resolve(), work / NEW
    with naming(out, part):
        remove(part)
        part.mkdir()
        try:
            yield part
            if replace and out.exists():
                out.rename(work / OLD)
            _take(part, out)
        except BaseException:
            if (work / OLD).exists() and not out.exists():
                (work / OLD).rename(out)
            shutil.rmtree(part, ignore_errors=True)
            raise
    empty(work)


def work_path(out: Path) -> Path:
    """Return the path of the work folder of `out`; see `work_folder`.

    Raises:
        OSError: `out` is a circle of links.
    """
    with suppress(FileNotFoundError):
        out.stat()
    return _beside(out.resolve(), "parts")


def empty(work: Path) -> None:
    """Remove everything in a work folder but the locks in it that are held."""
    for each in work.iterdir():
        if each.name.endswith(".lock"):
            with suppress(InUse), locked(work, each.name):
                pass
        else:
            remove(each)


def remove_leftovers(path: Path) -> None:
    """Remove the leftovers of a killed writer beside a file, unless it is being written."""
    lock, part = _beside(path, "lock"), _beside(path, "part")
    if lock.exists() or part.exists():
        with suppress(InUse), locked(path.parent, lock.name, of=path):
            remove(part)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file through `new_file`."""
    with new_file(path, sync=sync) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file through `new_file`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file through `new_file`, with indent 1 and a newline at the end."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def link(path: Path, target: str) -> None:
    """Create the symbolic link `path`, or change its target atomically.

    Args:
        target: path relative to the folder of the link, or absolute.

    Raises:
        OSError: the file system does not support links.
    """
    part = _beside(path, "part")
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(target)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def user_cache(name: str) -> Path:
    """Return the folder of this name for what can be computed or downloaded again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adm" / name


def fsync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def of_system(error: OSError) -> bool:
    """Whether the system raised an error, and not code with a message of its own."""
    return error.errno is not None and error.strerror == os.strerror(error.errno)


@contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Set the path of a system error that names none, or the temporary `part`, to `path`."""
    try:
        yield
    except OSError as error:
        named = error.filename
        ours = part is not None and named and Path(os.fsdecode(named)).is_relative_to(part)
        if of_system(error) and (named is None or ours):
            error.filename, error.filename2 = str(path), None
        raise


def _beside(path: Path, kind: str) -> Path:
    """Return the hidden path of this kind in the same folder."""
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{kind}")


def _check_free(out: Path, replace: bool) -> None:
    if out.exists() and not (out.is_dir() and (replace or not any(out.iterdir()))):
        raise FileExistsError(
            f"{out} already exists and is not empty; give another folder, or remove it"
        )


def _take(part: Path, out: Path) -> None:
    """Rename to a free name; raise FileExistsError if another process has taken it."""
    try:
        if out.exists():
            out.rmdir()  # fails if it is not empty
        part.rename(out)
    except OSError:
        _check_free(out, replace=False)
        raise
