"""Source -> Fingerprint: the names and sizes of its images and, where that is asked for, all bytes.

The bytes that are stored are hashed, not decoded pixels, which depend on the decoder. Of names, the
folder that all files are in is left out, because data may be moved.
"""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from pydantic import Field

from adm.data.files import CHECKED
from adm.data.source import CorruptImage, Source, map_ahead

AT_ONCE = 256  # images in memory that are read together

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Fingerprint:
    """What a data set is.

    Attributes:
        images: how many there are.
        names: hash of the names of all files, in order; None for arrays.
        sizes: hash of the sizes of up to `CHECKED` files, spread evenly, or of the shape of arrays.
        pixels: hash of all images as they are stored; None if that was not asked for.
    """

    images: Annotated[int, Field(ge=1)]
    names: Hash | None
    sizes: Hash
    pixels: Hash | None


def fingerprint(source: Source, pixels: bool = False) -> Fingerprint:
    """Describe a data set by its names and sizes.

    Args:
        pixels: whether to hash every image, too, which reads all of them.

    Raises:
        ValueError: a file cannot be read.
    """
    count, names = len(source), None
    if source.path is not None:
        paths = list(map(source.path, range(count)))
        folder = os.path.commonpath((min(paths), max(paths)))
        names = _hash(path[len(folder) :].encode("utf-8", "surrogatepass") for path in paths)
    if source.open is None:
        sizes = [source.shape]
    else:
        sizes = map_ahead(lambda index: _size(source, index), range(0, count, -(-count // CHECKED)))
    stored = _hash(_contents(source)) if pixels else None
    return Fingerprint(count, names, _hash(str(each).encode() for each in sizes), stored)


def difference(held: Fingerprint, now: Fingerprint) -> str | None:
    """Say in what two fingerprints differ; None if in nothing that both have."""
    if held.images != now.images:
        return f"the number of images, {held.images} and now {now.images},"
    if held.names != now.names:
        return "the name of a file"
    if held.sizes != now.sizes:
        return "the size of an image"
    if None not in (held.pixels, now.pixels) and held.pixels != now.pixels:
        return "the content of an image"
    return None


def _hash(parts: Iterable[bytes]) -> str:
    """SHA-256 of parts and their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _contents(source: Source) -> Iterator[bytes]:
    """Yield what is stored of each image; nothing of one that is corrupt."""
    indices = range(len(source))
    if source.open is not None:
        yield from map_ahead(lambda index: _stored(source, index), indices)
    elif source.read_many is not None:
        for start in indices[::AT_ONCE]:
            for image in source.read_many([*indices[start : start + AT_ONCE]]).numpy():
                yield image.tobytes()
    else:
        yield from (source.read(index).numpy().tobytes() for index in indices)


def _size(source: Source, index: int) -> int:
    with _opened(source, index) as file:
        return file.seek(0, os.SEEK_END)


def _stored(source: Source, index: int) -> bytes:
    with _opened(source, index) as file:
        return file.read()


def _opened(source: Source, index: int) -> BinaryIO:
    """The encoded image; an empty one if its archive is damaged."""
    assert source.open is not None
    assert source.path is not None
    try:
        return source.open(index)
    except CorruptImage:
        return io.BytesIO()
    except OSError as error:
        raise ValueError(
            f"{source.path(index)} cannot be read ({error.strerror}); restore the file"
        ) from None
