"""data as they lie -> what there is of each class and size, what is broken, what is there twice."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps

from adm.data import pixels
from adm.data.counting import count_of
from adm.data.files import Files, upright_size
from adm.data.source import CorruptImage, Source
from adm.data.threads import streamed

CELL = 64  # pixels a side, of an image in the sheet
STRIP = 1 << 16  # pixels hashed at a time: so many as RGBA fit in a processor's cache
COLUMNS, ROWS = 12, 40  # of the sheet: images of a class, classes
Advance = Callable[[float], None]


class Look(NamedTuple):
    """What one image is."""

    path: str
    size: tuple[int, int] | None  # (H, W), upright; None where it is broken
    kind: str  # such as "JPEG RGB", or "3 channels" of an array
    content: bytes  # hash of the encoded bytes
    pixels: bytes  # hash of the pixels as they are seen
    broken: str | None  # why it cannot be used


@dataclass(frozen=True)
class Report:
    """What data hold.

    Attributes:
        name: of the data.
        images: how many there are.
        classes: how many of each, broken ones among them.
        sizes: how many of each (H, W), as "HxW", the most frequent first.
        kinds: how many of each format and mode.
        broken: path and reason of each image that cannot be decoded.
        same_files: paths of files with the same bytes, group by group.
        same_pixels: paths of images that are seen alike, upright and of 8 bits, in files that
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect(found: Source | Files, advance: Advance = lambda amount: None) -> Report:
    """Decode every image once.

    Args:
        found: from `registry.find`.
        advance: called with the number of images looked at since the last call.

    Returns:
        what there is; broken images are in it and raise nothing.
    """
    look = _look_at_file(found) if isinstance(found, Files) else _look_at_array(found)
    looks: list[Look] = []
    for one in streamed(look, range(len(found))):
        looks.append(one)
        advance(1)
    labels = found.labels.tolist()
    counts = torch.bincount(found.labels, minlength=len(found.classes)).tolist()
    sound = [one for one in looks if one.size is not None]
    files = _groups(looks, lambda one: one.content)
    pictures = [
        group
        for group in _groups(looks, lambda one: one.pixels)
        if len({looks[index].content for index in group}) > 1
    ]
    return Report(
        name=found.name,
        images=len(found),
        classes=dict(zip(found.classes, counts, strict=True)),
        sizes=_counted(f"{one.size[0]}x{one.size[1]}" for one in sound if one.size),
        kinds=_counted(one.kind for one in sound),
        broken=[{"path": one.path, "reason": one.broken} for one in looks if one.broken],
        same_files=[[looks[index].path for index in group] for group in files],
        same_pixels=[[looks[index].path for index in group] for group in pictures],
        conflicts=sum(len({labels[i] for i in group}) > 1 for group in (*files, *pictures)),
        left_out=found.left_out if isinstance(found, Files) else 0,
    )


def sheet(found: Source | Files, out: Path) -> int:
    """Draw up to `COLUMNS` images of each class, a row a class, spread evenly over its images.

    Returns:
        how many classes are shown: the first `ROWS`.
    """
    classes = min(len(found.classes), ROWS)
    canvas = Image.new("RGB", (COLUMNS * (CELL + 2), classes * (CELL + 2)), "white")
    for row in range(classes):
        members = torch.nonzero(found.labels == row)[:, 0].tolist()
        stride = max(1, len(members) // COLUMNS)
        for column, index in enumerate(members[::stride][:COLUMNS]):
            cell = _cell(found, index)
            if cell is not None:
                canvas.paste(cell, (column * (CELL + 2), row * (CELL + 2)))
    canvas.save(out, "PNG")
    return classes


def _look_at_file(files: Files) -> Callable[[int], Look]:
    def look(index: int) -> Look:
        path = files.path(index)
        try:
            with files.open(index) as stream:
                content = hashlib.blake2b(stream.read()).digest()
            with files.picture(index) as picture:
                size, kind = upright_size(picture), f"{picture.format} {picture.mode}"
                shown = _hash_as_seen(picture)
        except (ValueError, OSError) as error:
            return Look(path, None, "", b"", b"", str(error))
        return Look(path, size, kind, content, shown, None)

    return look


def _hash_as_seen(picture: Image.Image) -> bytes:
    """Of what is trained on: upright, palettes looked up, 16 bits rounded to 8, alpha kept."""
    ImageOps.exif_transpose(picture, in_place=True)
    wide, high = picture.size
    found = hashlib.blake2b(f"{wide}x{high}".encode())
    rows = max(1, STRIP // wide)
    for top in range(0, high, rows):
        strip = picture.crop((0, top, wide, min(high, top + rows)))
        found.update(pixels.with_channels(strip, 4).tobytes())
    return found.digest()


def _look_at_array(source: Source) -> Callable[[int], Look]:
    def look(index: int) -> Look:
        image = source.read(index)
        channels, height, width = image.shape
        content = hashlib.blake2b(image.contiguous().numpy().tobytes()).digest()
        path = f"{source.name}, image {index}"
        return Look(path, (height, width), count_of(channels, "channel"), content, content, None)

    return look


def _groups(looks: Sequence[Look], key: Callable[[Look], bytes]) -> list[list[int]]:
    """Indices of sound images that are alike, where there are several."""
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, one in enumerate(looks):
        if one.size is not None:
            found[key(one)].append(index)
    return [group for group in found.values() if len(group) > 1]


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _cell(found: Source | Files, index: int) -> Image.Image | None:
    try:
        if isinstance(found, Files):
            with found.picture(index) as picture:
                ImageOps.exif_transpose(picture, in_place=True)
                return pixels.cover(pixels.with_channels(picture, 3), (CELL, CELL))
        image = found.read(index)
        shown = image if image.shape[0] in pixels.MODES else image[:1]
        return pixels.cover(pixels.with_channels(pixels.to_picture(shown), 3), (CELL, CELL))
    except (CorruptImage, ValueError):
        return None
