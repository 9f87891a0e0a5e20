"""Path of an .npz file, keys -> its arrays, in memory or memory-mapped.

A file of 50,000 images of 256 x 256 pixels takes 10 GB, which need not be in memory at once.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from adm.data import npy
from adm.data.temporary import NoRoom, temporary
from adm.shown import printable, short

SMALL = 1 << 20  # bytes; smaller arrays are read at once
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those of np.savez, np.savez_compressed
LOCAL_HEADER = 30  # bytes of a zip member before its name (APPNOTE.TXT 4.3.7)
END = 22  # bytes of the end of the central directory, before its comment (4.3.16)
ELSEWHERE = 0xFFFF  # a number of members that is stated in another record
ENCRYPTED = 1
MOST_INFLATED = 200  # times its compressed size that an array may have,
FREELY_INFLATED = 1 << 30  # if it has more than these bytes
LONGEST_REASON = 200
UNREADABLE = (  # raised by numpy and zipfile for damage, encryption, and impossible sizes
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def keys_of(path: Path) -> list[str]:
    """Return the keys of the arrays of an .npz file.

    Raises:
        ValueError: not an .npz file, or damaged.
    """
    with _opened(path) as archive:
        return [*_entries(archive)]


def listed(path: Path) -> str:
    """Return the keys for a message."""
    return printable(short(", ".join(keys_of(path)))) or "none"


def members(
    path: Path, wanted: Collection[str], *, in_memory: bool = False
) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file by key, those of `wanted` that it has.

    Large ones are memory-mapped: in place if they are not compressed, else from a temporary file.
    Writing to them changes only the copy in memory. All checksums are verified.

    Args:
        in_memory: whether to read large arrays that are not compressed into memory.

    Raises:
        ValueError: not an .npz file, damaged, or with arrays of objects; a compressed array that is
            larger than `MOST_INFLATED` says, or than the free space of the temporary folder.
    """
    found = {}
    with _opened(path) as archive:
        for key, info in _entries(archive).items():
            if key not in wanted:
                continue
            try:
                found[key] = _member(path, archive, info, in_memory)
            except NoRoom:
                raise
            except UNREADABLE as error:
                raise ValueError(f"its array {key}: {_reason(error)}") from None
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; an error of the block is one of the file."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; give an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_count(path, archive)
            yield archive
    except NoRoom:
        raise
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is not a readable .npz ({_reason(error)}); save it with "
            "np.savez(path, arr_0=images)"
        ) from None


def _check_count(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise ValueError unless the directory lists as many members as the end of the file says.

    Damage to the length of an entry hides those after it, which zipfile does not notice.
    """
    with path.open("rb") as file:
        file.seek(-END - len(archive.comment), os.SEEK_END)
        stated = int.from_bytes(file.read(END)[10:12], "little")
    listed = len(archive.infolist())
    if stated not in (listed, ELSEWHERE):
        raise ValueError(f"its directory lists {listed} of {stated} members")


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0] or type(error).__name__
    return printable(short(text, LONGEST_REASON))


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are arrays, by key; the header of every member must agree."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        archive.open(info).close()  # fails if its name in the directory is damaged
        key = info.filename.removesuffix(".npy")
        if key in found:
            raise ValueError(f"it has two arrays {key}")
        if key != info.filename:
            found[key] = info
    return found


def _member(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, in_memory: bool
) -> np.ndarray:
    _check(info, path.stat().st_size)
    size, whole = info.file_size, info.compress_type == zipfile.ZIP_STORED
    with archive.open(info) as content:  # compares the two headers of the member
        if size <= SMALL or (whole and in_memory):
            return npy.read(content, size)
        if whole:
            while content.read(npy.PIECE):  # verifies the checksum
                pass
            with path.open("rb") as file:
                return npy.mapped(file, _start(file, info), size)
        with temporary(size, f"{path}, of which the array {info.filename} is compressed,") as file:
            while piece := content.read(npy.PIECE):
                file.write(piece)
            file.flush()
            return npy.mapped(file, 0, size)


def _check(info: zipfile.ZipInfo, available: int) -> None:
    """Raise ValueError unless a member can be read, and is as large as it can be."""
    size, packed = info.file_size, info.compress_size
    if info.flag_bits & ENCRYPTED:
        raise ValueError("it is encrypted")
    if info.compress_type not in METHODS:
        raise ValueError(f"its compression is of type {info.compress_type}, expected deflate")
    if info.compress_type == zipfile.ZIP_STORED and size != packed:
        raise ValueError(f"it has {size} bytes in {packed} without compression")
    if packed > available:
        raise ValueError(f"it has {packed} bytes, and the file {available}")
    if size > max(FREELY_INFLATED, MOST_INFLATED * packed):
        raise ValueError(
            f"it would inflate from {packed:,} to {size:,} bytes, more than {MOST_INFLATED} times; "
            "if that is what it holds, save it without compression"
        )


def _start(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Offset of a member's content; its local header may be longer than the central one."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + LOCAL_HEADER + name + extra
