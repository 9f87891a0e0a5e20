"""Content -> a file or folder that appears whole; a file -> JSON within bounds, SHA-256."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 26  # of a JSON file: the labels of several million samples
MOST_DEPTH = 64  # of lists and objects in each other; ours have fewer than ten
LONGEST_NAME = 40  # characters of a name that a temporary one repeats, so that it is never too long
UNSYNCED = (errno.EINVAL, errno.ENOTSUP)  # answers of file systems that cannot sync a folder


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename what the block has written there to `path`.

    A reader finds the old file or the new one, never a part of it. If the block raises, the old
    file stays and the temporary one is removed; if the process is killed, it may remain, hidden
    (see `leftovers`). Parent folders are made. A link is followed. What is no regular file, such as
    a pipe or /dev/stdout, is yielded itself.

    Args:
        sync: wait until the disk holds the file and its name, so that a power failure leaves it
            whole too. Without this, writing is faster; for what is easily made again.

    Raises:
        OSError: the file cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve() if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(target)
    try:
        yield part
        if sync:
            fsync(part)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):  # of which the first one matters
            part.unlink(missing_ok=True)
        raise
    if sync:
        fsync(target.parent)


@contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `out`, and rename it to `out` when the block ends.

    If the block raises, `out` stays as it was. Files in the folder are not synced.

    Args:
        replace: an older folder gives way once the new one is complete.

    Raises:
        FileExistsError: `out` is a file, or holds files and is not to be replaced.
    """
    _check_free(out, replace)
    out = out.resolve()
    part = _beside(out)
    part.mkdir(parents=True)
    try:
        yield part
        if replace and out.exists():
            _exchange(part, out)
        else:
            _take(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file through `new_file`."""
    with new_file(path, sync=sync) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a file of UTF-8 through `new_file`."""
    write_bytes(path, text.encode(), sync=sync)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Write a file of JSON through `new_file`, indented by 1, with a newline at the end."""
    write_text(path, json.dumps(value, indent=1) + "\n", sync=sync)


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link, or change in one step where it leads.

    Args:
        target: relative to the link's folder, or absolute.

    Raises:
        OSError: the file system has no links.
    """
    part = _beside(path)
    try:
        part.symlink_to(target)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Wait until the disk holds the content of a file, or the names in a folder."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except PermissionError:
        if folder:  # Windows opens none, and elsewhere one may be writable and not readable
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in UNSYNCED:
            raise
    finally:
        os.close(handle)


def leftovers(path: Path) -> list[Path]:
    """The temporary files that killed writers of `path` have left, and those of living writers."""
    return [*path.parent.glob(f".{glob.escape(path.name[:LONGEST_NAME])}.*.part")]


def read_json(path: Path, *, limit: int = MOST_BYTES) -> Any:
    """Read a file of JSON.

    Args:
        limit: bytes that it may have.

    Raises:
        ValueError: it is no JSON, or is too large or too deeply nested. The message is the reason
            alone: the caller knows what the file is for, and the cure.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return parse_json(content)


def cached_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that an earlier call may have left; None unless it is there and whole.

    Raises:
        OSError: there is a file, and it cannot be read.
    """
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def parse_json(
    content: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Parse JSON that may come from anyone.

    Args:
        content: text, or bytes in any encoding of Unicode.
        pairs: makes an object of its keys and values; a dictionary by default.

    Raises:
        ValueError: it is no JSON, or is nested deeper than `MOST_DEPTH`; the reason alone.
    """
    try:
        value = json.loads(content, object_pairs_hook=pairs)
        deep = _depth(value) > MOST_DEPTH
    except RecursionError:
        deep, value = True, None
    if deep:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    return value


def through_json(value: Any) -> Any:
    """A value as it will be read back from JSON: tuples are lists, and keys are texts."""
    return json.loads(json.dumps(value))


def sha256(path: Path) -> str:
    """64 hexadecimal digits of a file, which may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, for this call alone.

    A process's number is not enough: threads share it, and containers on one disk may have equal
    ones.
    """
    name, own = path.name[:LONGEST_NAME], f"{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{name}.{own}.part")


def _check_free(out: Path, replace: bool) -> None:
    if out.exists() and not (out.is_dir() and (replace or not any(out.iterdir()))):
        raise FileExistsError(f"{out} already holds files; give another folder, or remove it")


def _take(part: Path, out: Path) -> None:
    """Rename to a name that is free, unless another process has taken it since."""
    try:
        if out.exists():
            out.rmdir()  # which fails where it holds something
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


def _depth(value: Any) -> int:
    """How many lists and objects are in each other; 0 for a number."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [
            child for each in level for child in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
