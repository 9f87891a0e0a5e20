"""IDX files (MNIST, Fashion-MNIST) -> labelled images."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.source import Source

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
    images = read_idx(_find(folder, f"{split}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{split}-labels-idx1-ubyte")).long()
    if len(images) != len(labels) or (len(labels) and int(labels.max()) >= len(classes)):
        raise ValueError(
            f"{folder}: {len(images)} images, {len(labels)} labels for {len(classes)} classes "
            "do not belong together; fetch both files again"
        )
    return Source(name, classes, labels, lambda i: images[i][None])


def _find(folder: Path, stem: str) -> Path:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{folder} holds no {stem}[.gz]; install Debian's dataset-fashion-mnist, or give the "
        "folder that holds the IDX files, or let torchvision fetch them"
    )
