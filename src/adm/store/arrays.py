"""Path of an .npy or .npz file <-> its arrays, of plain numbers or text.

The size that a header states is compared with the size of the file before anything is allocated,
and nothing is unpickled. A file of 50,000 images of 256 x 256 pixels takes 10 GB, which need not be
in memory at once: large arrays that are not compressed are memory-mapped.
"""

import hashlib
import math
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from adm.shown import printable, reason_of, short, shown

SMALL = 1 << 20  # bytes; smaller arrays are read at once
PIECE = 1 << 20  # bytes read at a time
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those of np.savez, np.savez_compressed
LOCAL_HEADER = 30  # bytes of a zip member before its name (APPNOTE.TXT 4.3.7)
PLAIN = "biufcSU"  # kinds of numbers and text
MOST_INFLATED = 200  # times its compressed size that an array may have,
FREELY_INFLATED = 1 << 30  # if it has more than these bytes
LONGEST_REASON = 200
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of the zip format
UNIX = 3  # written on every system, so that the bytes do not depend on it
UNREADABLE = (  # raised by numpy and zipfile for damage, encryption, and impossible sizes
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, SyntaxError),
    *(struct.error, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


class Header(NamedTuple):
    """The header of an .npy file, and the offset of its elements in bytes."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    start: int


def load_array(path: Path) -> np.ndarray:
    """Memory-map the array of an .npy file; writing to it changes only the copy in memory.

    Raises:
        ValueError: not an .npy file, damaged, or an array of objects.
    """
    with _reading(path, ".npy", "np.save(path, array)"), path.open("rb") as file:
        return _map(path, _header(file, path.stat().st_size), 0)


def array_names(path: Path) -> list[str]:
    """Return the keys of the arrays of an .npz file.

    Raises:
        ValueError: not an .npz file, or damaged.
    """
    with _open_zip(path) as archive:
        return [*_entries(archive)]


def load_arrays(path: Path, keys: Collection[str]) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file with these keys; absent ones are omitted.

    Large ones that are not compressed are memory-mapped; writing to them changes only the copy in
    memory. All checksums are verified.

    Raises:
        ValueError: not an .npz file, damaged, with arrays of objects, or with a compressed array
            larger than `MOST_INFLATED` allows.
    """
    arrays = {}
    with _open_zip(path) as archive:
        for key, info in _entries(archive).items():
            if key in keys:
                try:
                    arrays[key] = _member(path, archive, info)
                except UNREADABLE as error:
                    raise ValueError(f"its array {key}: {_reason(error)}") from None
    return arrays


class Pieces(NamedTuple):
    """An array that is written piece by piece along its first dimension."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def write_npz(path: Path, entries: Mapping[str, np.ndarray | Pieces]) -> None:
    """As np.savez, but the bytes are a function of the arrays: no time is recorded.

    Raises:
        ValueError: pieces of several shapes, or whose total length is not that of their shape.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for key, array in entries.items():
            info = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            info.create_system = UNIX
            with archive.open(info, "w", force_zip64=True) as file:
                if isinstance(array, Pieces):
                    _write_pieces(file, array)
                else:
                    whole = np.ascontiguousarray(array)
                    np.lib.format.write_array(file, whole, allow_pickle=False)


def hashes_of(items: ArrayLike) -> np.ndarray:
    """(N, ...) -> (N, 32) uint8, the SHA-256 of each item's bytes."""
    values = np.ascontiguousarray(items)
    digests = (hashlib.sha256(value.tobytes()).digest() for value in values)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(values), 32)


@contextmanager
def _reading(path: Path, form: str, cure: str) -> Iterator[None]:
    """Raise errors of reading a file in the block as a ValueError of one line."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; give an {form} file")
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is not a readable {form} ({_reason(error)}); save it with {cure}"
        ) from None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with _reading(path, ".npz", "np.savez(path, arr_0=images)"), zipfile.ZipFile(path) as archive:
        yield archive


def _reason(error: Exception) -> str:
    text = reason_of(error).partition("\n")[0] or type(error).__name__
    return printable(short(text, LONGEST_REASON))


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members with arrays by key."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        archive.open(info).close()  # fails if its name in the directory is damaged
        key = info.filename.removesuffix(".npy")
        if key in entries:
            raise ValueError(f"it has two arrays {key}")
        if key != info.filename:
            entries[key] = info
    return entries


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    size, packed = info.file_size, info.compress_size
    if info.compress_type not in METHODS:
        raise ValueError(f"its compression is of type {info.compress_type}, expected deflate")
    stored = info.compress_type == zipfile.ZIP_STORED
    if packed > path.stat().st_size or (stored and size != packed):
        raise ValueError(f"it has {size} bytes in {packed} of the file")
    if size > max(FREELY_INFLATED, MOST_INFLATED * packed):
        raise ValueError(
            f"it would inflate from {packed:,} to {size:,} bytes, more than {MOST_INFLATED} times; "
            "if that is its content, save it without compression"
        )
    with archive.open(info) as content:
        header = _header(content, size)
    with archive.open(info) as content:
        if size <= SMALL or not stored:
            array = np.lib.format.read_array(content, allow_pickle=False)
            content.read(1)  # the end, where the checksum is verified
            return _native(array)
        while content.read(PIECE):
            pass
    return _map(path, header, _start(path, info))


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """Offset of a member's content; its local header may be longer than the central one."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        head = file.read(LOCAL_HEADER)
    name, extra = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + LOCAL_HEADER + name + extra


def _header(file: IO[bytes], size: int) -> Header:
    """Read the header of an .npy file of `size` bytes; the rest must be as long as it says."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of version {version} of the format, expected 1 or 2")
    one, two = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = (one if version == (1, 0) else two)(file)
    if dtype.kind not in PLAIN:
        raise ValueError(f"it is of {shown(str(dtype))}, expected plain numbers or text")
    start, count = file.tell(), math.prod(shape) * dtype.itemsize
    plain = all(type(each) is int and each >= 0 for each in shape)
    if not plain or start + count != size:
        raise ValueError(
            f"it is not as long as its header says: its {shown(str(dtype))} of shape "
            f"{shown(shape)} are {count} bytes, and {size - start} follow"
        )
    return Header(shape, by_columns, dtype, start)


def _map(path: Path, header: Header, offset: int) -> np.ndarray:
    """Memory-map the array of an .npy file that begins at `offset` of a file."""
    shape, by_columns, dtype, start = header
    if not math.prod(shape) * dtype.itemsize:  # which cannot be mapped
        return np.empty(shape, dtype)
    order = "F" if by_columns else "C"
    return _native(np.memmap(path, dtype, "c", offset + start, shape, order))


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in the byte order of this machine, which torch requires."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    codes = np.ascontiguousarray(array).view(np.uint32) if array.dtype.kind == "U" else []
    if np.max(codes, initial=0) > sys.maxunicode:
        raise ValueError("its text is damaged")
    return array


def _write_pieces(file: IO[bytes], array: Pieces) -> None:
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for piece in array.pieces:
        if (piece.dtype, piece.shape[1:]) != (array.dtype, array.shape[1:]):
            raise ValueError(
                f"got rows of {piece.dtype} {piece.shape[1:]} after rows of {array.dtype} "
                f"{array.shape[1:]}; make all of one shape"
            )
        file.write(piece.tobytes())
        rows += len(piece)
    if rows != array.shape[0]:
        raise ValueError(f"got {rows} of {array.shape[0]} rows; give all of them")
