"""Path of an .npz file, names -> its arrays, none larger than the file can hold."""

import math
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from adm.shown import printable, short

MAPPED_FROM = 1 << 20  # bytes; larger arrays that are not compressed are memory-mapped
MOST_INFLATED = 200  # times its compressed size that an array may have,
FREELY_INFLATED = 1 << 30  # if it has more than these bytes
KINDS = "biufcSU"  # of numbers and text
LOCAL_HEADER = 30  # bytes of a zip member before its name (APPNOTE.TXT 4.3.7)
PIECE = 1 << 20  # bytes read at a time
LONGEST_REASON = 200


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays of an .npz file.

    Raises:
        ValueError: not an .npz file, or damaged.
    """
    return [*_read(path, None)]


def load_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file, those of `names` that it has.

    Large ones are memory-mapped, unless they are compressed; writing to them changes only the copy
    in memory. Every size is checked before memory is allocated, and every checksum.

    Raises:
        ValueError: not an .npz file, damaged, with arrays of objects or of several types, or an
            array that inflates to more than `MOST_INFLATED` times its size.
    """
    return _read(path, names)


def _read(path: Path, names: Collection[str] | None) -> dict[str, np.ndarray]:
    """Return the arrays of these names; all names with empty arrays, if there are none."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; give an .npz file")
    place, found = "", dict[str, np.ndarray]()
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as file:  # fails if its name in the directory is damaged
                    if name == info.filename:
                        continue
                    if name in found:
                        raise ValueError(f"it has two arrays {name}")
                    if names is None:
                        found[name] = np.empty(0)
                    elif name in names:
                        place = f"its array {name}: "
                        found[name] = _native(_array(path, file, info))
                        place = ""
    except Exception as error:  # zipfile and NumPy raise a dozen types for damage
        text = str(error).partition("\n")[0] or type(error).__name__
        reason = printable(short(place + text, LONGEST_REASON))
        raise ValueError(
            f"{path} is not a readable .npz ({reason}); save it with np.savez(path, arr_0=images)"
        ) from None
    return found


def _array(path: Path, file: IO[bytes], info: zipfile.ZipInfo) -> np.ndarray:
    """Read or map a member of an archive, which is open as `file`."""
    size, stored = info.file_size, info.compress_type == zipfile.ZIP_STORED
    if size > max(FREELY_INFLATED, MOST_INFLATED * info.compress_size):
        raise ValueError(f"it would inflate from {info.compress_size:,} to {size:,} bytes")
    shape, by_columns, dtype = _header(file)
    start, content = file.tell(), math.prod(shape) * dtype.itemsize
    if dtype.kind not in KINDS:
        raise ValueError(f"it is of {dtype}, expected plain numbers or text")
    if start + content != size or info.compress_size > path.stat().st_size:
        raise ValueError("it is not as long as its header says")
    if not stored or content < MAPPED_FROM:
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    while file.read(PIECE):  # the checksum is compared at the end
        pass
    with path.open("rb") as whole:
        whole.seek(info.header_offset)
        header = whole.read(LOCAL_HEADER)
        before = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        start += info.header_offset + LOCAL_HEADER + before
        return np.memmap(whole, dtype, "c", start, shape, "F" if by_columns else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an .npy file: shape, whether columns are contiguous, dtype."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in the byte order of this machine, which torch requires.

    Raises:
        ValueError: text with characters that Unicode does not have, at which NumPy fails.
    """
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    codes = np.ascontiguousarray(array).view(np.uint32) if array.dtype.kind == "U" else []
    if np.max(codes, initial=0) > sys.maxunicode:
        raise ValueError("its text is damaged")
    return array
