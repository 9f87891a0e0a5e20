"""Source -> Fingerprint: the names and sizes of its images and, if requested, all bytes.

Stored bytes are hashed, not decoded pixels, which depend on the decoder. Names are relative to the
folder that contains all files, because data may be moved.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from adm.data.fitting import spread
from adm.data.source import Source, map_ahead
from adm.store.hashes import Sha256

AT_ONCE = 256  # images in memory that are read together


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a data set.

    Attributes:
        images: their number.
        names: hash of the names of all files, in order.
        sizes: hash of the sizes of up to `fitting.CHECKED` files, spread evenly, or of the shape of
            arrays.
        pixels: hash of all images as they are stored; None if not requested.
    """

    images: Annotated[int, Field(ge=1)]
    names: Sha256
    sizes: Sha256
    pixels: Sha256 | None


def fingerprint(source: Source, pixels: bool = False) -> Fingerprint:
    """Describe a data set by its names and sizes; of pairs, by those of images and conditions.

    Args:
        pixels: whether to hash every image, too, which reads all of them.

    Raises:
        ValueError: a file cannot be read.
    """
    sources = [source] if source.condition is None else [source, source.condition]
    return Fingerprint(
        len(source),
        _hash(name for each in sources for name in _names(each)),
        _hash(size for each in sources for size in _sizes(each)),
        _hash(content for each in sources for content in _contents(each)) if pixels else None,
    )


def difference(saved: Fingerprint, current: Fingerprint) -> str | None:
    """Describe how two fingerprints differ; None if all that both have is equal."""
    if saved.images != current.images:
        return f"the number of images, {saved.images} and now {current.images},"
    if saved.names != current.names:
        return "the name of a file"
    if saved.sizes != current.sizes:
        return "the size of an image"
    if None not in (saved.pixels, current.pixels) and saved.pixels != current.pixels:
        return "the content of an image"
    return None


def _hash(parts: Iterable[bytes]) -> str:
    """SHA-256 of parts and their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _names(source: Source) -> list[bytes]:
    """Return the names of the files below the folder of all; none of arrays."""
    if source.files is None:
        return []
    paths = [source.files.path(source.row(index)) for index in range(len(source))]
    folder = os.path.commonpath((min(paths), max(paths)))
    return [path[len(folder) :].encode("utf-8", "surrogatepass") for path in paths]


def _sizes(source: Source) -> Iterator[bytes]:
    """Yield the sizes in bytes of files that are spread evenly, or the shape of arrays."""
    files = source.files
    if files is None:
        yield str(source.shape).encode()
        return

    def size(index: int) -> bytes:
        with files.open_encoded(source.row(index)) as file:
            return str(file.seek(0, os.SEEK_END)).encode()

    yield from map_ahead(size, spread(len(source)))


def _contents(source: Source) -> Iterator[bytes]:
    """Yield the stored bytes of each image."""
    indices, files = range(len(source)), source.files
    if files is not None:

        def read(index: int) -> bytes:
            with files.open_encoded(source.row(index)) as file:
                return file.read()

        yield from map_ahead(read, indices)
        return
    for start in indices[::AT_ONCE]:
        for image in source.batch(indices[start : start + AT_ONCE])[0].numpy():
            yield image.tobytes()
