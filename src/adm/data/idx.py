"""IDX files (MNIST, Fashion-MNIST) -> Source."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.counting import count_of
from adm.data.labels import CLASSES_FILE, named_classes
from adm.data.naming import natural
from adm.data.source import NoSplit, Source, in_memory

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
UNSIGNED_BYTE = 0x08  # the IDX code of the element type of these data sets
MAX_BYTES = 1 << 31
PIECE = 1 << 20  # bytes read at a time
KINDS = ("images-idx3", "labels-idx1")
STEMS = {"train": ("train",), "test": ("t10k", "test")}


def read_idx(path: Path) -> Tensor:
    """Read one IDX file, gzipped or not, into a uint8 tensor.

    Raises:
        ValueError: not an IDX file of bytes, of another length than it states, or larger than
            2 GiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, kind, rank = struct.unpack(">HBB", file.read(4))
            if magic or kind != UNSIGNED_BYTE or not 1 <= rank <= 4:
                raise ValueError(f"{path} is not an IDX file of bytes; give the original file")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            count = math.prod(shape)
            if count > MAX_BYTES:
                raise ValueError(
                    f"{path} states {count} bytes, more than {MAX_BYTES}; give a smaller file"
                )
            pieces = []
            while piece := file.read(PIECE):  # to the end, where gzip's checksum is verified
                pieces.append(piece)
                if len(pieces) * PIECE > count + PIECE:
                    break
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again") from None
    data = b"".join(pieces)
    if len(data) != count:
        what = "truncated to" if len(data) < count else "longer, at least"
        raise ValueError(f"{path} is {what} {len(data)} of {count} bytes; download it again")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def idx(folder: Path, split: str, classes: tuple[str, ...], name: str) -> Source:
    """Read `{split}-images-idx3-ubyte[.gz]` and its labels from a folder.

    Raises:
        ValueError: a file is missing or damaged, or images, labels and classes do not match.
    """
    images, labels = (_find(folder, f"{split}-{kind}-ubyte") for kind in KINDS)
    return _pair(images, labels, classes, name)


def idx_folder(folder: Path, split: str = "train") -> Source:
    """Read a folder of IDX files whose names contain `train`, and `t10k` or `test`.

    `classes.json` in the folder, ["zero", "one", ...], names the classes; without it they are named
    by their numbers.

    Raises:
        ValueError: no file of images of the split, or several; and as `idx`.
    """
    found = sorted(
        (path for path in folder.glob("*images?idx3-ubyte*") if _is_of(path.name, split)),
        key=lambda path: natural(path.name),
    )
    if len({path.name.removesuffix(".gz") for path in found}) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise (ValueError if found else NoSplit)(
            f"{folder} must have one file of IDX images of the {split} split, and has {listed}; "
            f"give a folder with one {STEMS[split][0]}-images-idx3-ubyte[.gz]"
        )
    images = found[0]
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels.is_file():
        raise ValueError(f"{labels}, the labels of {images.name}, is absent; download both files")
    return _pair(images, labels, named_classes(folder / CLASSES_FILE), folder.resolve().name)


def _is_of(name: str, split: str) -> bool:
    return any(stem in name.lower() for stem in STEMS[split])


def _pair(images: Path, labels: Path, classes: tuple[str, ...] | None, name: str) -> Source:
    pixels, numbers = read_idx(images), read_idx(labels).long()
    place = images.parent
    if pixels.ndim != 3 or numbers.ndim != 1 or not len(pixels):
        raise ValueError(
            f"{place}: {images.name} and {labels.name} are not images (N, H, W) and labels (N,); "
            "download the original files"
        )
    classes = classes or tuple(map(str, range(int(numbers.max()) + 1 if len(numbers) else 0)))
    if len(pixels) != len(numbers) or int(numbers.max()) >= len(classes):
        raise ValueError(
            f"{place}: {count_of(len(pixels), 'image')}, {count_of(len(numbers), 'label')} and "
            f"{count_of(len(classes), 'class', 'classes')} do not match; download both files again"
        )
    return in_memory(name, classes, pixels[:, None], numbers)


def _find(folder: Path, stem: str) -> Path:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{folder} has no {stem}[.gz]; install Debian's dataset-fashion-mnist, or give the folder "
        "of the IDX files, or let torchvision download them"
    )
