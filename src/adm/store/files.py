"""Path, content -> file or folder, written atomically, and synced to the disk."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

LONGEST_NAME = (
    40  # characters of a name that its temporary name keeps, to stay within file system limits
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk without room
UNSYNCED = (errno.EINVAL, errno.ENOTSUP)  # errors of file systems that cannot sync a folder
SYNCED_TOGETHER, QUEUED = 16, 1024  # files that are synced at a time, and that wait for it
ABANDONED_SECONDS = 86_400.0  # without a change, after which the writer on another machine is dead


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends.

    A reader finds the old file or the new one, never a part of it. If the block raises, the old
    file remains and the temporary one is removed. A process that is killed leaves a hidden
    temporary file, which the next call removes (see `leftovers`). Parent folders are created. Links
    are followed. A path that is not a regular file, such as a pipe or /dev/stdout, is yielded
    itself.

    Args:
        sync: whether to wait until the file and its name are on the disk, so that they survive a
            power failure. False is faster, for files that are easily written again.

    Raises:
        OSError: the file cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path  # a circle of links, too
    target.parent.mkdir(parents=True, exist_ok=True)
    clear(target)
    part = _beside(target)
    with naming(path, part):
        try:
            yield part
            if sync:
                fsync(part)
            os.replace(part, target)
        except BaseException:
            with suppress(OSError):  # the error of the block matters more
                part.unlink(missing_ok=True)
            raise
        if sync:
            fsync(target.parent)


@contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `out`, and rename it to `out` when the block ends.

    If the block raises, `out` is unchanged. A process that is killed leaves a hidden temporary
    folder, which the next call removes. All files are synced before the folder gets its name.

    Args:
        replace: whether to replace an existing folder, once the new one is complete.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty without `replace`.
    """
    _check_free(out, replace)
    out = out.resolve()
    clear(out)
    part = _beside(out)
    with naming(out, part):
        part.mkdir(parents=True)
        try:
            yield part
            fsync_all(part)
            if replace and out.exists():
                _exchange(part, out)
            else:
                _take(part, out)
            fsync(out.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Let an error of the system name the path that is written.

    It names none if a write failed, and otherwise may name `part`, the temporary path, or a path in
    that folder.
    """
    try:
        yield
    except OSError as error:
        if of_system(error) and _names_none_or(part, error.filename):
            error.filename, error.filename2 = str(path), None
        raise


def of_system(error: OSError) -> bool:
    """Whether the system has raised an error, and not code that says in a sentence what to do."""
    return error.errno is not None and error.strerror == os.strerror(error.errno)


def _names_none_or(part: Path | None, named: object) -> bool:
    if not isinstance(named, str | os.PathLike):
        return True
    return part is not None and Path(named).is_relative_to(part)


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file through `new_file`."""
    with new_file(path, sync=sync) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a UTF-8 file through `new_file`."""
    write_bytes(path, text.encode(), sync=sync)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Write a JSON file through `new_file`, with indent 1 and a newline at the end."""
    write_text(path, json.dumps(value, indent=1) + "\n", sync=sync)


def link(path: Path, target: str) -> None:
    """Create the symbolic link `path`, or change its target atomically.

    Args:
        target: path relative to the folder of the link, or absolute.

    Raises:
        OSError: the file system does not support links.
    """
    clear(path)
    part = _beside(path)
    try:
        part.symlink_to(target)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def user_cache(name: str) -> Path:
    """Return the folder of this name for what can be computed or downloaded again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adm" / name


def fsync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except PermissionError:
        if folder:  # Windows cannot open folders; on other systems one may be unreadable
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in UNSYNCED:
            raise
    finally:
        os.close(handle)


def fsync_all(folder: Path) -> None:
    """Wait until all files in a folder, and their names, are on the disk.

    Several threads wait at a time, so that the disk can write many small files together.
    """
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    with ThreadPoolExecutor(SYNCED_TOGETHER, thread_name_prefix="sync") as pool:
        for place, _, names in os.walk(folder):
            for start in range(0, len(names), QUEUED):
                some = (Path(place, name) for name in names[start : start + QUEUED])
                for _ in pool.map(fsync, some):
                    pass
            fsync(Path(place))


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files and folders of `path` that killed writers have left.

    The name of each contains the machine and the process id of its writer. One of this machine is
    left if that process has ended; one of another machine, if nothing has changed for a day.
    """
    name = glob.escape(path.name[:LONGEST_NAME])
    found = (each for end in ("part", "old") for each in path.parent.glob(f".{name}.*-*.{end}"))
    return [each for each in found if _is_left(each)]


def clear(path: Path) -> None:
    """Remove the `leftovers` of a path; put back a folder that was about to be replaced."""
    for each in leftovers(path):
        if each.suffix == ".old" and not path.exists():
            each.rename(path)
        elif each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def _is_left(part: Path) -> bool:
    match part.suffixes[-2].removeprefix(".").split("-"):
        case [machine, pid, _] if machine == _machine() and pid.isdecimal():
            return not _alive(int(pid))
    with suppress(FileNotFoundError):
        return time.time() - part.lstat().st_mtime > ABANDONED_SECONDS
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@cache
def _machine() -> str:
    """Return a name of this machine, or of this container, in which process ids are unique."""
    place = socket.gethostname()
    with suppress(OSError):  # only Linux has namespaces of processes
        place += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(place.encode("utf-8", "replace")).hexdigest()[:8]


def _beside(path: Path) -> Path:
    """Return a hidden path in the same folder that is unique to this call.

    The process id is not unique: threads share it, and containers on one disk may have equal ids.
    """
    name = path.name[:LONGEST_NAME]
    own = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{name}.{own}.part")


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


def _exchange(part: Path, out: Path) -> None:
    old = part.with_suffix(".old")
    try:
        out.rename(old)
        part.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
