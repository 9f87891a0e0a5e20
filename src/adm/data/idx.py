"""Fashion-MNIST's IDX files -> Source."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.data.source import NoSplit, Source, in_memory
from adm.store.fetch import Remote, fetch

FASHION = "fashion-mnist"
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
FASHION_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
UNSIGNED_BYTE = 0x08  # the IDX code of the element type of these data sets
MAX_BYTES = 1 << 31
STEMS = {"train": "train", "test": "t10k"}


def fashion_mnist(place: str = "", split: str = "train") -> Source:
    """60,000 training or 10,000 test images of ten kinds of garment, 28x28, grey.

    Args:
        place: a folder of the IDX files, gzipped or not; empty for that of Debian's package
            dataset-fashion-mnist, or, if that is absent, for files that are downloaded on first use
            (30 MB).
        split: `train` or `test`.

    Raises:
        ValueError: files are missing or damaged, or are not images with labels; the download
            failed.
    """
    if place:
        folder = at_home(place)
    elif DEBIAN_FASHION_MNIST.is_dir():
        folder = DEBIAN_FASHION_MNIST
    else:
        files = [Remote(f"{FASHION_ADDRESS}/{n}", f"md5:{md5}") for n, md5 in FASHION_MD5.items()]
        folder = [fetch(file).parent for file in files].pop()
    images, labels = (
        next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)
        for file in (f"{STEMS[split]}-images-idx3-ubyte", f"{STEMS[split]}-labels-idx1-ubyte")
    )
    if images is None or labels is None:
        raise NoSplit(
            f"{folder} has no {STEMS[split]}-images-idx3-ubyte[.gz] with its labels; give the "
            "folder of the original files"
        )
    pixels, numbers = read_idx(images), read_idx(labels).long()
    fit = pixels.ndim == 3 and numbers.ndim == 1 and len(pixels) == len(numbers) > 0
    if not fit or int(numbers.max()) >= len(FASHION_CLASSES):
        raise ValueError(f"{folder}: images and labels do not match; download the files again")
    return in_memory(FASHION, FASHION_CLASSES, pixels[:, None], numbers)


def read_idx(path: Path) -> Tensor:
    """Read one IDX file, gzipped or not, into a uint8 tensor.

    Raises:
        ValueError: not an IDX file of bytes, or of another length than it states.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES)
        _, kind, rank = struct.unpack_from(">HBB", data)
        if kind != UNSIGNED_BYTE:
            raise ValueError("it is not an IDX file of bytes")
        shape = struct.unpack_from(f">{rank}I", data, 4)
        pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (struct.error, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again") from None
    return torch.from_numpy(pixels.copy())
