"""Source -> Properties: classes, sizes, broken images, duplicates; examples of each class."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from PIL import ImageOps
from torch import Tensor

from adm.data import pixels
from adm.data.files import Files
from adm.data.fitting import at_one_size
from adm.data.source import Source, map_ahead
from adm.shown import count_of, shown_path

SIDE = 64  # pixels of an example
EXAMPLES, CLASSES_SHOWN = 12, 40  # examples of a class, classes with examples


class Inspection(NamedTuple):
    """The properties of one image."""

    path: str
    size: tuple[int, int] | None  # (H, W), upright; None where it is broken
    kind: str  # such as "JPEG RGB", or "3 channels" of an array
    content: bytes  # hash of the encoded bytes
    pixels: bytes  # hash of the pixels that training reads: upright, of 8 bits, with alpha
    broken: str | None  # why it cannot be used


@dataclass(frozen=True)
class Properties:
    """The properties of a data set.

    Attributes:
        name: of the data.
        images: their number.
        classes: number of images of each, broken ones included.
        sizes: number of each (H, W), as "HxW", the most frequent first.
        kinds: number of each format and mode.
        broken: path and reason of each image that cannot be decoded.
        same_files: paths of files with the same bytes, group by group.
        same_pixels: paths of images whose pixels are equal, upright and of 8 bits, in files that
            differ.
        conflicts: groups of either kind in which labels differ.
        left_out: images that a list of labels does not name.
    """

    name: str
    images: int
    classes: dict[str, int]
    sizes: dict[str, int]
    kinds: dict[str, int]
    broken: list[dict[str, str]]
    same_files: list[list[str]]
    same_pixels: list[list[str]]
    conflicts: int
    left_out: int

    @property
    def size_range(self) -> tuple[str, str]:
        """The smallest and the largest size by area, of images that can be decoded."""
        return min(self.sizes, key=_area), max(self.sizes, key=_area)

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON values."""
        return asdict(self)


def inspect(source: Source, advance: Callable[[float], None] = lambda amount: None) -> Properties:
    """Decode every image once.

    Args:
        source: from `registry.find`.
        advance: called with the number of images inspected since the last call.

    Returns:
        the properties; broken images are counted there and raise nothing.
    """

    files = source.files

    def inspect_one(index: int) -> Inspection:
        return _array(source, index) if files is None else _file(files, source.row(index))

    inspected: list[Inspection] = []
    for one in map_ahead(inspect_one, range(len(source))):
        inspected.append(one)
        advance(1)
    labels = source.labels.tolist()
    counts = torch.bincount(source.labels, minlength=len(source.classes)).tolist()
    same = _groups(one.content for one in inspected)
    pictures = [
        group
        for group in _groups(one.pixels for one in inspected)
        if len({inspected[index].content for index in group}) > 1
    ]
    return Properties(
        name=source.name,
        images=len(source),
        classes=dict(zip(source.classes, counts, strict=True)),
        sizes=_counted(f"{one.size[0]}x{one.size[1]}" for one in inspected if one.size),
        kinds=_counted(one.kind for one in inspected if one.size),
        broken=[{"path": one.path, "reason": one.broken} for one in inspected if one.broken],
        same_files=[[inspected[index].path for index in group] for group in same],
        same_pixels=[[inspected[index].path for index in group] for group in pictures],
        conflicts=sum(len({labels[i] for i in group}) > 1 for group in (*same, *pictures)),
        left_out=source.left_out,
    )


def examples(source: Source) -> Tensor:
    """Up to `EXAMPLES` images of each class, spread evenly over its images.

    Returns:
        (K, EXAMPLES, 3, SIDE, SIDE) uint8, of the first `CLASSES_SHOWN` classes; white where a
        class has fewer images, or an image is broken.
    """
    if source.files is not None:
        source = at_one_size(source, size=(SIDE, SIDE), check=False)
    classes = min(len(source.classes), CLASSES_SHOWN)
    images = torch.full((classes, EXAMPLES, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    for label in range(classes):
        members = torch.nonzero(source.labels == label)[:, 0].tolist()
        stride = max(1, len(members) // EXAMPLES)
        for place, index in enumerate(members[::stride][:EXAMPLES]):
            with suppress(ValueError):  # it is broken
                images[label, place] = _example(source.read(index))
    return images


def _file(files: Files, row: int) -> Inspection:
    path = files.path(row)
    try:
        with files.open(row) as stream:
            content = hashlib.blake2b(stream.read()).digest()
        with files.picture(row) as picture:
            kind = f"{picture.format} {picture.mode}"
            ImageOps.exif_transpose(picture, in_place=True)
            size = picture.height, picture.width
            levels = hashlib.blake2b(str(size).encode())
            levels.update(pixels.with_channels(picture, 4).tobytes())
    except (ValueError, OSError) as error:
        return Inspection(path, None, "", b"", b"", shown_path(error))
    return Inspection(path, size, kind, content, levels.digest(), None)


def _array(source: Source, index: int) -> Inspection:
    image = source.read(index)
    channels, height, width = image.shape
    content = hashlib.blake2b(image.contiguous().numpy().tobytes()).digest()
    path, kind = f"{source.name}, image {index}", count_of(channels, "channel")
    return Inspection(path, (height, width), kind, content, content, None)


def _groups(keys: Iterable[bytes]) -> list[list[int]]:
    """Groups of indices of equal keys, each of two or more; an empty key is like no other."""
    indices: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key:
            indices[key].append(index)
    return [group for group in indices.values() if len(group) > 1]


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _area(size: str) -> tuple[int, int]:
    """Sort key of "HxW": the area, then the height."""
    height, width = map(int, size.split("x"))
    return height * width, height


def _example(image: Tensor) -> Tensor:
    """(C, H, W) -> (3, SIDE, SIDE); of other than 1, 3 or 4 channels, the first is shown."""
    picture = pixels.to_picture(image if image.shape[0] in pixels.MODES else image[:1])
    return pixels.to_tensor(pixels.cover(pixels.with_channels(picture, 3), (SIDE, SIDE)))
