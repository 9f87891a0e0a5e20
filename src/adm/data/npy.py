"""Bytes of an .npy file, their number -> array in memory, or memory-mapped.

The header is checked against the number of bytes that follow it before anything is allocated. The
array is the whole content: plain numbers or text, with no byte before or after them.
"""

import math
import re
import sys
from typing import IO, NamedTuple

import numpy as np

from adm.shown import shown

MAGIC = b"\x93NUMPY"
MOST_HEADER = 1024  # characters; a header of 32 axes of 20 digits each has fewer
MOST_AXES = 32
PIECE = 1 << 20  # bytes read at a time
TEXT = r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,7})"
FIELDS = (  # in any order; each once
    rf"""(?=[^#]*["']descr["'] *: *["'](?P<dtype>{TEXT})["'])""",
    r"""(?=[^#]*["']fortran_order["'] *: *(?P<columns>True|False))""",
    r"""(?=[^#]*["']shape["'] *: *\((?P<shape>[0-9, ]*)\))""",
)
OBJECTS = re.compile(r"""["'][|<>=]?O["']""")
HEADER = re.compile(rf"\{{{''.join(FIELDS)}[^#{{}}]*\}} *\n?")


class Header(NamedTuple):
    """What an .npy file holds.

    Attributes:
        start: bytes before the elements.
        size: bytes of the elements.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    by_columns: bool
    start: int
    size: int


def read(file: IO[bytes], size: int) -> np.ndarray:
    """Read an .npy file of `size` bytes into memory.

    Raises:
        ValueError: not an array of plain numbers or text, or of another size. The message is only
            the reason.
    """
    head = header(file, size)
    content = bytearray(head.size)
    view, place = memoryview(content), 0
    while piece := file.read(PIECE):  # to the end, where a zip member's checksum is verified
        if place + len(piece) > head.size:
            raise ValueError("it is longer than its header says")
        view[place : place + len(piece)] = piece
        place += len(piece)
    if place < head.size:
        raise ValueError(f"it is truncated to {place} of {head.size} bytes")
    order = "F" if head.by_columns else "C"
    return _native(np.ndarray(head.shape, head.dtype, content, order=order))


def mapped(file: IO[bytes], start: int, size: int) -> np.ndarray:
    """Memory-map an .npy file that begins at `start` of another file.

    Writing to the array changes only the copy in memory.

    Raises:
        ValueError: as `read`.
    """
    file.seek(start)
    head = header(file, size)
    order = "F" if head.by_columns else "C"
    if not head.size:  # which cannot be mapped
        return np.empty(head.shape, head.dtype)
    return _native(np.memmap(file, head.dtype, "c", start + head.start, head.shape, order))


def header(file: IO[bytes], size: int) -> Header:
    """Read the header of an .npy file of `size` bytes, which begins here.

    Raises:
        ValueError: as `read`.
    """
    start = file.read(len(MAGIC) + 2)
    if start[: len(MAGIC)] != MAGIC or start[len(MAGIC) :] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it does not begin as an .npy file does")
    width = 2 if start[len(MAGIC)] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length} characters, more than {MOST_HEADER}")
    text = file.read(length).decode("latin-1")
    found = HEADER.fullmatch(text)
    if found is None:
        what = "an array of objects" if OBJECTS.search(text) else shown(text.strip())
        raise ValueError(f"its header states {what}, expected plain numbers or text")
    shape = tuple(map(int, re.findall("[0-9]+", found["shape"])))
    dtype = np.dtype(found["dtype"])
    before = len(start) + width + length
    count = math.prod(shape) * dtype.itemsize
    if len(shape) > MOST_AXES or math.prod(max(1, each) for each in shape) >= 1 << 58:
        raise ValueError(f"its shape is {shown(shape)}, which is too large")
    if before + count != size:
        raise ValueError(
            f"it is not as long as its header says: its {shown(found['dtype'])} of shape "
            f"{shown(shape)} are {count} bytes, and {size - before} follow"
        )
    return Header(dtype, shape, found["columns"] == "True", before, count)


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in the byte order of this machine, which torch requires.

    Raises:
        ValueError: text with characters that Unicode does not have, at which numpy fails.
    """
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    codes = np.ascontiguousarray(array).view(np.uint32) if array.dtype.kind == "U" else []
    if np.max(codes, initial=0) > sys.maxunicode:
        raise ValueError("its text is damaged")
    return array
