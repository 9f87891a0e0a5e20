"""IDX files (MNIST, Fashion-MNIST) -> Source."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.labels import named_classes
from adm.data.lists import reader_of
from adm.data.naming import at_home, natural
from adm.data.source import NoSplit, Source, in_memory
from adm.shown import count_of
from adm.store.fetch import Remote, fetch

FASHION = "fashion-mnist"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
TORCHVISION_FOLDER = Path("FashionMNIST", "raw")  # below torchvision's root folder
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
FASHION_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
UNSIGNED_BYTE = 0x08  # the IDX code of the element type of these data sets
MAX_BYTES = 1 << 31
PIECE = 1 << 20  # bytes read at a time
STEMS = {"train": ("train",), "test": ("t10k", "test")}


def fashion_mnist(place: str = "", split: str = "train") -> Source:
    """60,000 training or 10,000 test images of ten kinds of garment, 28x28, grey.

    Args:
        place: a folder of the IDX files, gzipped or not, or of torchvision's copy of them; empty
            for that of Debian's package dataset-fashion-mnist, or, if that is absent, for files
            that are downloaded on first use (30 MB).
        split: `train` or `test`.

    Raises:
        ValueError: files are missing or damaged, or are not images with labels; the download
            failed.
    """
    if place:
        folder = at_home(place)
        inner = folder / TORCHVISION_FOLDER
        folder = inner if inner.is_dir() else folder
    elif DEBIAN_FASHION_MNIST.is_dir():
        folder = DEBIAN_FASHION_MNIST
    else:
        files = [Remote(f"{FASHION_ADDRESS}/{n}", f"md5:{md5}") for n, md5 in FASHION_MD5.items()]
        folder = [fetch(file).parent for file in files].pop()
    return _read_folder(folder, split, FASHION_CLASSES, FASHION)


def idx_folder(place: str, split: str = "train") -> Source:
    """Read a folder of IDX files whose names contain `train`, and `t10k` or `test`.

    `classes.json` in the folder, ["zero", "one", ...], names the classes; without it they are named
    by their numbers.

    Raises:
        ValueError: no folder is given; no file of images of the split, or several; no labels; a
            file is damaged; or images, labels and classes do not match.
    """
    if not place:
        raise ValueError("give the folder of the files: idx:/FOLDER")
    folder = at_home(place)
    return _read_folder(
        folder, split, named_classes(reader_of(folder), str(folder)), folder.resolve().name
    )


def _read_folder(folder: Path, split: str, classes: tuple[str, ...] | None, name: str) -> Source:
    paths = sorted(
        (path for path in folder.glob("*images?idx3-ubyte*") if _is_of(path.name, split)),
        key=lambda path: natural(path.name),
    )
    if len({path.name.removesuffix(".gz") for path in paths}) != 1:
        listed = ", ".join(path.name for path in paths) or "none"
        raise (ValueError if paths else NoSplit)(
            f"{folder} must have one file of IDX images of the {split} split, and has {listed}; "
            f"give a folder with one {STEMS[split][0]}-images-idx3-ubyte[.gz]"
        )
    images = paths[0]
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels.is_file():
        raise ValueError(f"{labels}, the labels of {images.name}, is absent; download both files")
    pixels, numbers = read_idx(images), read_idx(labels).long()
    if pixels.ndim != 3 or numbers.ndim != 1 or not len(pixels):
        raise ValueError(
            f"{folder}: {images.name} and {labels.name} are not images (N, H, W) and labels (N,); "
            "download the original files"
        )
    highest = int(numbers.max()) if len(numbers) else -1
    classes = classes or tuple(map(str, range(highest + 1)))
    if len(pixels) != len(numbers) or highest >= len(classes):
        raise ValueError(
            f"{folder}: {count_of(len(pixels), 'image')}, {count_of(len(numbers), 'label')} and "
            f"{count_of(len(classes), 'class', 'classes')} do not match; download both files again"
        )
    return in_memory(name, classes, pixels[:, None], numbers)


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
            # Beyond the end, where gzip's checksum is verified, and no further.
            data = b"".join(file.read(PIECE) for _ in range(count // PIECE + 2))
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again") from None
    if len(data) != count:
        what = "truncated to" if len(data) < count else "longer, at least"
        raise ValueError(f"{path} is {what} {len(data)} of {count} bytes; download it again")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def _is_of(name: str, split: str) -> bool:
    return any(stem in name.lower() for stem in STEMS[split])
