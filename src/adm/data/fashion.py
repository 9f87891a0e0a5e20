"""Fashion-MNIST's files, wherever they lie -> labelled images, 28x28 and grey."""

from pathlib import Path

from adm.data.idx import DEBIAN_FASHION_MNIST, FASHION_CLASSES, idx
from adm.data.source import Source

NAME = "fashion-mnist"
STEMS = {"train": "train", "test": "t10k"}
TORCHVISION_FOLDER = Path("FashionMNIST", "raw")  # where torchvision puts the files in its root


def fashion_mnist(folder: Path | None = None, split: str = "train") -> Source:
    """60,000 training or 10,000 test images of ten kinds of garment.

    Args:
        folder: holds the IDX files, gzipped or not, or torchvision's copy of them; None for
            where Debian's package dataset-fashion-mnist puts them.
        split: `train` or `test`.

    Raises:
        ValueError: files are missing, damaged, or of other things than images and labels.
    """
    if folder is None and not DEBIAN_FASHION_MNIST.is_dir():
        raise ValueError(
            f"{DEBIAN_FASHION_MNIST} is absent; install Debian's dataset-fashion-mnist, or give "
            f"{NAME}:/FOLDER with the IDX files, or {NAME}+download:/FOLDER to fetch them"
        )
    place = folder or DEBIAN_FASHION_MNIST
    if (place / TORCHVISION_FOLDER).is_dir():
        place = place / TORCHVISION_FOLDER
    return idx(place, STEMS[split], FASHION_CLASSES, NAME)


def downloaded(cache: Path, split: str = "train") -> Source:
    """Fashion-MNIST from a cache folder, fetched into it by torchvision the first time.

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
            f"fetching {NAME} takes torchvision, which is absent; "
            'pip install "ablated-diffusion[download]"'
        ) from None
    try:
        FashionMNIST(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{NAME} did not arrive in {cache} ({error}); try again, or give {NAME}:/FOLDER with "
            "the IDX files"
        ) from None
