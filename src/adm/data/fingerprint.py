"""Source -> Fingerprint, hashes of its images; Source, Fingerprint -> the first that differs.

The bytes that are stored are hashed, not decoded pixels, which depend on the decoder. Of names, the
folder that all files are in is left out, because data may be moved.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated

from pydantic import Field

from adm.data.files import CHECKED
from adm.data.source import CorruptImage, Open, Source, streamed
from adm.store.hashes import sha256_of

SAMPLED = CHECKED  # images of a large set: the files whose headers are read on opening
SMALL = 1 << 26  # bytes of images in memory, all of which are hashed
END = 1 << 16  # bytes at the start and at the end of a sampled file that are hashed
MOST_HASHES = 1 << 16  # of a set; if it has more images, each hash is of several
DIGITS = 16  # hexadecimal, of a hash
AT_ONCE = 256  # hashes of images in memory that are computed together

Hash = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{DIGITS}}}$")]
Index = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of the images of a set, or of a sample of them.

    Attributes:
        images: number of images in the set.
        whole: whether all images are hashed, and every byte of a file.
        names: hash of the names of all files in order; None if all are hashed, or for arrays.
        each: number of consecutive images of each hash.
        first: index of the first image of each hash.
        hashes: one for each of `first`.
    """

    images: Count
    whole: bool
    names: Hash | None
    each: Count
    first: tuple[Index, ...]
    hashes: tuple[Hash, ...]

    def __post_init__(self) -> None:
        if len(self.first) != len(self.hashes) or max(self.first, default=0) >= self.images:
            raise ValueError("its hashes are not those of its images")


def fingerprint(source: Source, whole: bool = False) -> Fingerprint:
    """Hash the images of a source.

    Up to `SAMPLED` files, and arrays of up to `SMALL` bytes, are hashed whole. Of a larger set, the
    names of all files and a sample spread evenly over the set are hashed, and no other file is
    opened or asked for its size, which would take a request each on a network file system.

    Args:
        whole: hash every byte of every image, however many there are.

    Raises:
        ValueError: a file cannot be read.
    """
    count = len(source)
    whole = whole or count <= SAMPLED or _bytes(source) <= SMALL
    each = -(-count // MOST_HASHES) if whole else 1
    first = tuple(range(0, count, each if whole else -(-count // SAMPLED)))
    names = None if whole else _names(source)
    return Fingerprint(count, whole, names, each, first, tuple(_hashes(source, first, each, whole)))


def changed(source: Source, held: Fingerprint, whole: bool = False) -> str | None:
    """Return what differs from the fingerprint, the first image or else the names; None if nothing.

    Args:
        held: the fingerprint of as many images.
        whole: compare every hash; otherwise a sample of those of a set that is not small.

    Raises:
        ValueError: a file cannot be read.
    """
    quick = whole or len(source) <= SAMPLED or _bytes(source) <= SMALL
    stride = 1 if quick else -(-len(held.first) * held.each // SAMPLED)
    first, hashes = held.first[::stride], held.hashes[::stride]
    for index, before, now in zip(
        first, hashes, _hashes(source, first, held.each, held.whole), strict=True
    ):
        if before != now:
            return _place(source, index, held.each)
    if not held.whole and held.names != _names(source):
        return "the name of a file"
    return None


def _bytes(source: Source) -> float:
    """Return the size of images in memory; infinity for any others."""
    if source.read_many is None:
        return float("inf")
    return len(source) * source.read_many([0]).nbytes


def _names(source: Source) -> str | None:
    if source.path is None:
        return None
    paths = list(map(source.path, range(len(source))))
    folder = os.path.commonpath((min(paths), max(paths)))
    names = "\0".join(path[len(folder) :] for path in paths)
    return sha256_of(names.encode("utf-8", "surrogatepass"))[:DIGITS]


def _place(source: Source, index: int, each: int) -> str:
    ends = sorted({index, min(index + each, len(source)) - 1})
    named = [f"image {i}" if source.path is None else source.path(i) for i in ends]
    return named[0] if len(named) == 1 else f"an image from {named[0]} to {named[1]}"


def _hashes(source: Source, first: Sequence[int], each: int, whole: bool) -> Iterator[str]:
    """Yield the hash of the `each` images from each of the indices `first` on."""
    groups = [range(index, min(index + each, len(source))) for index in first]
    contents = _contents(source, [index for group in groups for index in group], whole)
    for group in groups:
        digest = hashlib.sha256()
        for content in islice(contents, len(group)):
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        yield digest.hexdigest()[:DIGITS]


def _contents(source: Source, indices: list[int], whole: bool) -> Iterator[bytes]:
    """Yield what is stored of each image; nothing of one that is corrupt."""
    if source.open is not None:
        yield from streamed(partial(_of_file, source, source.open, whole), indices)
    elif source.read_many is not None:
        for start in range(0, len(indices), AT_ONCE):
            for image in source.read_many(indices[start : start + AT_ONCE]).numpy():
                yield image.tobytes()
    else:
        yield from map(partial(_of_image, source), indices)


def _of_file(source: Source, open_: Open, whole: bool, index: int) -> bytes:
    try:
        with open_(index) as file:
            if whole:
                return file.read()
            start, size = file.read(END), file.seek(0, os.SEEK_END)
            file.seek(max(END, size - END))
            return size.to_bytes(8, "little") + start + file.read()
    except CorruptImage:
        return b""
    except OSError as error:
        place = _place(source, index, 1)
        raise ValueError(f"{place} cannot be read ({error.strerror}); restore the file") from None


def _of_image(source: Source, index: int) -> bytes:
    try:
        return source.read(index).numpy().tobytes()
    except CorruptImage:
        return b""
