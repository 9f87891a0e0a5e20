"""Source or Files -> WebDataset shards: .tar archives of encoded images with labels."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from adm.cached import Cached
from adm.data import pixels
from adm.data.arrays import fitted
from adm.data.files import Files, decoded
from adm.data.labels import CLASSES_FILE
from adm.data.source import CorruptImage, Source, streamed
from adm.store.files import new_file, write_text
from adm.store.hashes import sha256_of
from adm.store.locks import locked

ORIGINAL = "original"
# Format -> its extension, and Pillow's options. WebP and PNG are lossless.
ENCODINGS = {
    "png": ("png", {"format": "PNG"}),
    "jpeg": ("jpg", {"format": "JPEG", "quality": 95, "subsampling": 0}),
    "webp": ("webp", {"format": "WEBP", "lossless": True, "quality": 80}),
}
FORMATS = (*ENCODINGS, ORIGINAL)
# Pillow's name of a format -> its extension. MPO is a JPEG followed by more pictures, from phones.
EXTENSION_OF = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
}
RGB = 3
Advance = Callable[[float], None]


@dataclass(frozen=True)
class Packing:
    """How images are written.

    Attributes:
        size: (H, W) to which they are resized and cropped; None keeps their own.
        channels: 1, 3 or 4; None for 3, or for arrays their own.
        format: png, jpeg (quality 95), webp (lossless), or original, which copies files unchanged.
        shard_size: images per archive.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    format: str = "png"
    shard_size: int = 10_000

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be {', '.join(FORMATS)}, got {self.format!r}")
        if self.shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {self.shard_size}")
        if self.channels == 4 and self.format == "jpeg":
            raise ValueError("JPEG has no alpha channel; give format png or webp, or 3 channels")
        if self.format == ORIGINAL and not self.size == self.channels is None:
            raise ValueError("format original copies files unchanged; leave size and channels out")


class Packed(NamedTuple):
    shards: int
    kept: int  # of the shards, written by an earlier run
    images: int  # written by this run
    skipped: list[str]  # paths of corrupt images


class Encoded(NamedTuple):
    content: bytes
    extension: str


def pack(
    found: Source | Files,
    out: Path,
    packing: Packing,
    *,
    split: str = "train",
    skip_corrupt: bool = False,
    advance: Advance = lambda amount: None,
) -> Packed:
    """Write `{split}-000000.tar` and so on, and `classes.json`, into a folder.

    Image i of the data is `{i:09d}.png` with the number of its class in `{i:09d}.cls`, so that
    indices stay the same. The same data give the same bytes. Shards are written atomically and
    existing ones are kept, so that an interrupted run can be resumed.

    Args:
        found: from `registry.find`.
        out: the folder, which may contain other splits.
        packing: how images are written.
        split: the prefix of the shards' names.
        skip_corrupt: omit images that cannot be decoded.
        advance: called with the number of images processed since the last call.

    Raises:
        ValueError: the folder has shards of other data or settings, or another process writes it
            (`InUse`); corrupt images; or arrays whose channels no image format has.
    """
    encode = _original(found) if packing.format == ORIGINAL else _encoder(found, packing)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, and shards need a folder; choose another out=...")
    attempt = _skipping(encode) if skip_corrupt else encode
    with locked(out):
        _claim(out, found, packing, split)
        return _write(out, found, packing, split, attempt, advance)


def _write(
    out: Path,
    found: Source | Files,
    packing: Packing,
    split: str,
    attempt: Callable[[int], Encoded | CorruptImage],
    advance: Advance,
) -> Packed:
    """Write the shards that are missing."""
    kept, images, skipped, labels = 0, 0, list[str](), found.labels.tolist()
    shards = -(-len(found) // packing.shard_size)
    for number in range(shards):
        indices = range(len(found))[number * packing.shard_size :][: packing.shard_size]
        target = out / f"{split}-{number:06d}.tar"
        if target.is_file():
            kept += 1
            advance(Cached(len(indices)))
            continue
        corrupt = _write_shard(target, indices, attempt, labels, advance)
        images += len(indices) - len(corrupt)
        skipped += [error.path for error in corrupt]
    return Packed(shards, kept, images, skipped)


def _encoder(found: Source | Files, packing: Packing) -> Callable[[int], Encoded]:
    if isinstance(found, Files):
        channels = RGB if packing.channels is None else packing.channels
        source = decoded(found, packing.size, channels, check=False, equal=False)
    else:
        source = fitted(found, packing.size, packing.channels)
        pixels.mode_of(source.read(0).shape[0])
    extension, how = ENCODINGS[packing.format]

    def encode(index: int) -> Encoded:
        stream = io.BytesIO()
        pixels.to_picture(source.read(index)).save(stream, **how)
        return Encoded(stream.getvalue(), extension)

    return encode


def _original(found: Source | Files) -> Callable[[int], Encoded]:
    if not isinstance(found, Files):
        raise ValueError(f"{found.name} has no files to copy; give format png, jpeg or webp")

    def encode(index: int) -> Encoded:
        with found.picture(index) as picture:
            picture.load()  # raises CorruptImage now, not when the shard is read
            extension = EXTENSION_OF[picture.format or ""]
        with found.open(index) as stream:
            return Encoded(stream.read(), extension)

    return encode


def _skipping(encode: Callable[[int], Encoded]) -> Callable[[int], Encoded | CorruptImage]:
    """Return CorruptImage instead of raising it."""

    def attempt(index: int) -> Encoded | CorruptImage:
        try:
            return encode(index)
        except CorruptImage as error:
            return error

    return attempt


def _claim(out: Path, found: Source | Files, packing: Packing, split: str) -> None:
    """Record what the folder contains, or raise ValueError if it contains something else."""
    labels = sha256_of(found.labels.numpy().tobytes())
    facts = {"data": found.name, "images": len(found), "labels": labels, **asdict(packing)}
    for name, content in ((CLASSES_FILE, list(found.classes)), (f"{split}.json", facts)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        file = out / name
        if not file.is_file():
            write_text(file, text)
        elif file.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{file} tells of other data or settings; give another folder, or remove this one"
            )


def _write_shard(
    target: Path,
    indices: range,
    attempt: Callable[[int], Encoded | CorruptImage],
    labels: list[int],
    advance: Advance,
) -> list[CorruptImage]:
    """Write one archive atomically; return the errors of images that were skipped."""
    corrupt: list[CorruptImage] = []
    with new_file(target) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index, made in zip(indices, streamed(attempt, indices), strict=True):
            advance(1)
            if isinstance(made, CorruptImage):
                corrupt.append(made)
                continue
            _add(archive, f"{index:09d}.{made.extension}", made.content)
            _add(archive, f"{index:09d}.cls", str(labels[index]).encode())
    return corrupt


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without time, owner or anything else that would differ between runs."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
