""".npz file -> memory-mapped arrays; Source of its images.

A file of 50,000 images of 256 x 256 pixels takes 10 GB, which need not be in memory at once.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from adm.data.arrays import (
    CLASSES,
    IMAGES,
    LABELS,
    UNREADABLE,
    from_arrays,
)
from adm.data.source import Source

SMALL = 1 << 20  # bytes; smaller arrays are read at once, and their checksums verified
LOCAL_HEADER = 30  # bytes of a zip member before its name (APPNOTE.TXT 4.3.7)
ENCRYPTED = 1


def members(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by key.

    Large ones are memory-mapped: in place if they are not compressed, else from a temporary file.
    Writing to them changes only the copy in memory.

    Raises:
        ValueError: not an .npz file, damaged, or with object arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename[:-4]: _member(path, archive, info) for info in infos}
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give an .npz file") from None
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} is not a readable .npz ({reason}); save it with np.savez(path, arr_0=images)"
        ) from None


def stored(path: Path, classes: tuple[str, ...] | None = None) -> Source:
    """A source of the images of an .npz file in the layout of `arrays`, left on disk.

    Args:
        path: the file.
        classes: the name of each label, if the file has no names.

    Raises:
        ValueError: as `arrays`.
    """
    found = members(path)
    if not any(key in found for key in IMAGES):
        raise ValueError(
            f"{path} has no images: its arrays are {', '.join(found) or 'none'}; save it with "
            "np.savez(path, arr_0=images, arr_1=labels), images uint8 (N, H, W, C)"
        )
    if classes is not None and CLASSES not in found and any(key in found for key in LABELS):
        found[CLASSES] = np.array(classes)
    return from_arrays(path, found)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.flag_bits & ENCRYPTED:
        raise ValueError(f"{info.filename} is encrypted")
    if info.file_size <= SMALL:
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            return _mapped(file, _start(file, info), info)
    with tempfile.TemporaryFile() as file, archive.open(info) as packed:
        shutil.copyfileobj(packed, file)
        return _mapped(file, 0, info)


def _start(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Offset of a member's content; its local header may be longer than the central one."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + LOCAL_HEADER + name + extra


def _mapped(file: IO[bytes], start: int, info: zipfile.ZipInfo) -> np.ndarray:
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} is an array of objects, which are not read")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if file.tell() - start + size != info.file_size:
        raise ValueError(f"{info.filename} is not as long as its header says")
    order = "F" if by_columns else "C"
    return np.memmap(file, dtype, "c", file.tell(), shape, order)
