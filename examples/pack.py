"""Images -> WebDataset shards: .tar archives of encoded images, and their labels.

    python examples/pack.py photos --out shards --size 64
    python examples/pack.py photos.zip --split test --labels prefix --out shards --format webp

writes train-000000.tar and so on, and classes.json, which adm train --data FOLDER and the
webdataset package read. Images that cannot be decoded are left out and named. The same data give
the same bytes. Run again, it goes on where it was interrupted.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from adm.data import pixels
from adm.data.files import CorruptImage
from adm.data.fitting import at_one_size
from adm.data.registry import find
from adm.data.shards import CLASSES_FILE
from adm.data.source import Source, map_ahead
from adm.spec import SettingError, out_of_range
from adm.store.files import new_file, write_text
from adm.store.hashes import sha256_of
from adm.store.locks import locked

# Format -> its extension, and Pillow's options. WebP and PNG are lossless.
ENCODINGS = {
    "png": ("png", {"format": "PNG"}),
    "jpeg": ("jpg", {"format": "JPEG", "quality": 95, "subsampling": 0}),
    "webp": ("webp", {"format": "WEBP", "lossless": True, "quality": 80}),
}


@dataclass(frozen=True)
class Packing:
    """How images are written.

    Attributes:
        size: (H, W) to which they are resized and cropped; None for their own.
        channels: 1, 3 or 4; None for 3, or for arrays their own.
        format: png, jpeg (quality 95) or webp (lossless).
        shard_size: images per archive.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    format: str = "png"
    shard_size: int = 10_000

    def __post_init__(self) -> None:
        if self.format not in ENCODINGS:
            raise out_of_range("format", f"one of {', '.join(ENCODINGS)}", self.format)
        if self.shard_size < 1:
            raise out_of_range("shard_size", "at least 1", self.shard_size)
        if self.channels == 4 and self.format == "jpeg":
            raise SettingError(
                "format", "JPEG has no alpha: use {format=png} or {format=webp}, or {channels=3}"
            )


class Packed(NamedTuple):
    """Counts of shards and images.

    Attributes:
        shards: in all.
        existing: shards that an earlier run wrote.
        images: that this run wrote.
        damaged: of each image that was left out, its file and the reason.
    """

    shards: int
    existing: int
    images: int
    damaged: list[str]


def pack(
    source: Source,
    out: Path,
    packing: Packing,
    *,
    split: str = "train",
    advance: Callable[[float], None] = lambda amount: None,
) -> Packed:
    """Write `{split}-000000.tar` and so on, and `classes.json`, into a folder.

    Image i of the data is `{i:09d}.png` with the number of its class in `{i:09d}.cls`, so that
    indices stay the same; one that cannot be decoded is left out. The same data give the same
    bytes. Shards are written atomically and existing ones are kept, so that an interrupted run can
    be resumed.

    Args:
        source: from `registry.find`.
        out: the folder, which may contain other splits.
        packing: how images are written.
        split: the prefix of the shards' names.
        advance: called once with the number of images in existing shards, and then with those that
            are processed.

    Raises:
        ValueError: the folder has shards of other data or settings, or another process writes it
            (`InUse`); or arrays whose channels no image format has.
    """
    extension, how = ENCODINGS[packing.format]
    images = at_one_size(source, size=packing.size, channels=packing.channels, check=False)
    if images.files is None:
        pixels.mode_of(images.shape[0])

    def encode(index: int) -> bytes | CorruptImage:
        stream = io.BytesIO()
        try:
            pixels.to_picture(images.read(index)).save(stream, **how)
        except CorruptImage as error:
            return error
        return stream.getvalue()

    damaged, written = list[str](), 0
    labels, indices, size = source.labels.tolist(), range(len(source)), packing.shard_size
    shards = [
        (indices[start : start + size], out / f"{split}-{number:06d}.tar")
        for number, start in enumerate(indices[::size])
    ]
    with locked(out):
        _claim(out, source, packing, split)
        absent = [(span, target) for span, target in shards if not target.is_file()]
        advance(len(source) - sum(len(span) for span, _ in absent))
        for span, target in absent:
            with (
                new_file(target) as part,
                tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive,
            ):
                for index, encoded in zip(span, map_ahead(encode, span), strict=True):
                    advance(1)
                    if isinstance(encoded, CorruptImage):
                        damaged.append(str(encoded))
                        continue
                    written += 1
                    _add(archive, f"{index:09d}.{extension}", encoded)
                    _add(archive, f"{index:09d}.cls", str(labels[index]).encode())
    return Packed(len(shards), len(shards) - len(absent), written, damaged)


def _claim(out: Path, source: Source, packing: Packing, split: str) -> None:
    """Record what the folder contains, or raise ValueError if it contains something else."""
    labels = sha256_of(source.labels.numpy().tobytes())
    facts = {"data": source.name, "images": len(source), "labels": labels, **asdict(packing)}
    for name, content in ((CLASSES_FILE, list(source.classes)), (f"{split}.json", facts)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        file = out / name
        if not file.is_file():
            write_text(file, text)
        elif file.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{file} describes other data or settings; give another folder, or remove this one"
            )


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without time, owner or anything else that would differ between runs."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="in any of the forms of adm train --data")
    parser.add_argument("--out", type=Path, required=True, help="folder, which may have others")
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--labels", help="as of adm train --labels")
    parser.add_argument("--size", help="of the images, such as 64 or 48,64; by default their own")
    parser.add_argument("--channels", type=int, help="1, 3 or 4; by default 3 for image files")
    parser.add_argument("--format", default="png", choices=tuple(ENCODINGS))
    parser.add_argument("--shard-size", type=int, default=10_000)
    given = parser.parse_args()
    sides = [int(side) for side in (given.size or "").split(",") if side]
    size = (sides[0], sides[-1]) if sides else None
    packing = Packing(size, given.channels, given.format, given.shard_size)
    source = find(given.data, split=given.split, labels=given.labels)
    done = pack(source, given.out, packing, split=given.split)
    for reason in done.damaged:
        print(f"left out: {reason}")
    before = f" ({done.existing} are from an earlier run)"
    print(f"{given.out}: {done.shards} shards{before}; {done.images} images written")


if __name__ == "__main__":
    main()
