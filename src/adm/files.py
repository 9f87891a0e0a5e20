"""Path, content -> file or folder, written atomically; file -> JSON within limits, SHA-256."""

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

MOST_BYTES = 1 << 26  # of a JSON file; enough for the labels of several million samples
MOST_DEPTH = 64  # of nested lists and objects; files of this package have fewer than ten
LONGEST_NAME = (
    40  # characters of a name that its temporary name keeps, to stay within file system limits
)
UNSYNCED = (errno.EINVAL, errno.ENOTSUP)  # errors of file systems that cannot sync a folder


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends.

    A reader finds the old file or the new one, never a part of it. If the block raises, the old
    file remains and the temporary one is removed; if the process is killed, a hidden temporary file
    may remain (see `leftovers`). Parent folders are created. Links are followed. A path that is not
    a regular file, such as a pipe or /dev/stdout, is yielded itself.

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
    target = path.resolve() if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(target)
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

    If the block raises, `out` is unchanged. Files in the folder are not synced.

    Args:
        replace: whether to replace an existing folder, once the new one is complete.

    Raises:
        FileExistsError: `out` is a file, or a folder that is not empty without `replace`.
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
    part = _beside(path)
    try:
        part.symlink_to(target)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files of `path`, both of killed and of running writers."""
    return [*path.parent.glob(f".{glob.escape(path.name[:LONGEST_NAME])}.*.part")]


def read_json(path: Path, *, limit: int = MOST_BYTES) -> Any:
    """Read a JSON file.

    Args:
        limit: largest size in bytes.

    Raises:
        ValueError: the file is not JSON, or is too large or too deeply nested. The message is only
            the reason, to which the caller adds the path and the cure.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return parse_json(content)


def cached_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that an earlier call may have written; None if absent or damaged.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def parse_json(
    content: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Parse untrusted JSON.

    Args:
        content: text, or bytes in any Unicode encoding.
        pairs: (key, value) pairs of an object -> its value; a dictionary by default.

    Raises:
        ValueError: the content is not JSON, or is nested deeper than `MOST_DEPTH`. The message is
            only the reason.
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
    """Return a value as it is read back from JSON: tuples are lists, and keys are strings."""
    return json.loads(json.dumps(value))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; it may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _beside(path: Path) -> Path:
    """Return a hidden path in the same folder that is unique to this call.

    The process id is not unique: threads share it, and containers on one disk may have equal ids.
    """
    name, own = path.name[:LONGEST_NAME], f"{os.getpid()}-{secrets.token_hex(4)}"
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


def _depth(value: Any) -> int:
    """Return the depth of nested lists and objects; 0 for a number."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [
            child for each in level for child in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
