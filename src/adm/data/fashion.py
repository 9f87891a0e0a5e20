"""Folder of IDX files -> Source: Fashion-MNIST, 28x28, grey."""

from pathlib import Path

from adm.data.idx import DEBIAN_FASHION_MNIST, FASHION_CLASSES, idx
from adm.data.source import Source
from adm.extras import installing
from adm.shown import shown_path

NAME = "fashion-mnist"
STEMS = {"train": "train", "test": "t10k"}
TORCHVISION_FOLDER = Path("FashionMNIST", "raw")  # below torchvision's root folder


def fashion_mnist(folder: Path | None = None, split: str = "train") -> Source:
    """60,000 training or 10,000 test images of ten kinds of garment.

    Args:
        folder: has the IDX files, gzipped or not, or torchvision's copy of them; None for the
            folder of Debian's package dataset-fashion-mnist.
        split: `train` or `test`.

    Raises:
        ValueError: files are missing or damaged, or are not images with labels.
    """
    if folder is None and not DEBIAN_FASHION_MNIST.is_dir():
        raise ValueError(
            f"{DEBIAN_FASHION_MNIST} is absent; install Debian's dataset-fashion-mnist, or give "
            f"{NAME}:/FOLDER with the IDX files, or {NAME}+download:/FOLDER to download them"
        )
    place = folder or DEBIAN_FASHION_MNIST
    if (place / TORCHVISION_FOLDER).is_dir():
        place = place / TORCHVISION_FOLDER
    return idx(place, STEMS[split], FASHION_CLASSES, NAME)


def downloaded(cache: Path, split: str = "train") -> Source:
    """Fashion-MNIST from a cache folder, downloaded into it by torchvision on first use.

    Raises:
        ValueError: torchvision is not installed, or the download failed.
    """
    if not _is_complete(cache / TORCHVISION_FOLDER):
        _download(cache)
    return fashion_mnist(cache, split)


def _is_complete(folder: Path) -> bool:
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    names = [f"{stem}-{kind}" for stem in STEMS.values() for kind in kinds]
    return all((folder / n).is_file() or (folder / f"{n}.gz").is_file() for n in names)


def _download(cache: Path) -> None:
    try:
        from torchvision.datasets import FashionMNIST
    except ImportError:
        raise ValueError(
            f"downloading {NAME} needs torchvision, which is not installed; "
            f"{installing('download')}"
        ) from None
    try:
        FashionMNIST(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{NAME} could not be downloaded to {shown_path(cache)} ({shown_path(error)}); try "
            f"again, or give {NAME}:/FOLDER with the IDX files"
        ) from None
