"""IDX files (MNIST, Fashion-MNIST) -> labelled images."""

import gzip
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
UNSIGNED_BYTE = 0x08  # the IDX code of the only element type that these sets use
MAX_BYTES = 1 << 31
KINDS = ("images-idx3", "labels-idx1")
STEMS = {"train": ("train",), "test": ("t10k", "test")}


def read_idx(path: Path) -> Tensor:
    """Read one IDX file, gzipped or not, into a uint8 tensor.

    Raises:
        ValueError: not an IDX file of bytes, truncated, or larger than 2 GiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, kind, rank = struct.unpack(">HBB", file.read(4))
            if magic or kind != UNSIGNED_BYTE or not 1 <= rank <= 4:
                raise ValueError(f"{path} is not an IDX file of bytes; give the original files")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            count = int(np.prod(shape, dtype=np.int64))
            if count > MAX_BYTES:
                raise ValueError(f"{path} claims {count} bytes, more than the limit {MAX_BYTES}")
            data = file.read(count)
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again") from None
    if len(data) != count:
        raise ValueError(f"{path} is truncated: {len(data)} of {count} bytes; fetch it again")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def idx(folder: Path, split: str, classes: tuple[str, ...], name: str) -> Source:
    """Read `{split}-images-idx3-ubyte[.gz]` and its labels from a folder.

    Raises:
        ValueError: a file is missing or damaged, or counts or labels disagree.
    """
    images, labels = (_find(folder, f"{split}-{kind}-ubyte") for kind in KINDS)
    return _pair(images, labels, classes, name)


def idx_folder(folder: Path, split: str = "train") -> Source:
    """Read any folder of IDX files: `...train...images-idx3-ubyte[.gz]`, and `t10k` or `test`.

    Classes are named by their numbers, or by `classes.json` in the folder: ["zero", "one", ...].

    Raises:
        ValueError: none or several files that could be meant; files as in `idx`.
    """
    found = sorted(
        (path for path in folder.glob("*images?idx3-ubyte*") if _is_of(path.name, split)),
        key=lambda path: natural(path.name),
    )
    if len({path.name.removesuffix(".gz") for path in found}) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise (ValueError if found else NoSplit)(
            f"{folder}: {listed} of its files are IDX images of the {split} split; give a folder "
            f"with one {STEMS[split][0]}-images-idx3-ubyte[.gz]"
        )
    images = found[0]
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels.is_file():
        raise ValueError(f"{labels} is absent, the labels of {images.name}; fetch both files")
    return _pair(images, labels, named_classes(folder / CLASSES_FILE), folder.resolve().name)


def _is_of(name: str, split: str) -> bool:
    return any(stem in name.lower() for stem in STEMS[split])


def _pair(images: Path, labels: Path, classes: tuple[str, ...] | None, name: str) -> Source:
    pixels, numbers = read_idx(images), read_idx(labels).long()
    place = images.parent
    if pixels.ndim != 3 or numbers.ndim != 1 or not len(pixels):
        raise ValueError(
            f"{place}: its files {images.name} and {labels.name} are not images (N, H, W) with "
            "labels (N,); fetch the original files"
        )
    classes = classes or tuple(map(str, range(int(numbers.max()) + 1 if len(numbers) else 0)))
    if len(pixels) != len(numbers) or int(numbers.max()) >= len(classes):
        raise ValueError(
            f"{place}: {count_of(len(pixels), 'image')}, {count_of(len(numbers), 'label')} for "
            f"{count_of(len(classes), 'class', 'classes')} do not belong together; fetch "
            "both files again"
        )
    return in_memory(name, classes, pixels[:, None], numbers)


def _find(folder: Path, stem: str) -> Path:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{folder} holds no {stem}[.gz]; install Debian's dataset-fashion-mnist, or give the "
        "folder that holds the IDX files, or let torchvision fetch them"
    )
