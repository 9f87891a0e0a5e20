"""SPEC, the text by which a user names data -> a source of labelled images."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from adm.data.arrays import arrays
from adm.data.digits import digits
from adm.data.fashion import downloaded, fashion_mnist
from adm.data.fitting import fitted
from adm.data.folder import folder
from adm.data.source import Source

SPLITS = ("train", "test")
RGB = 3
FORMS = (
    "fashion-mnist, fashion-mnist:/FOLDER, fashion-mnist+download:/FOLDER, digits, "
    "a folder of images with a class a sub-folder, or an .npz file"
)


def open_source(
    spec: str,
    *,
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Source:
    """Open the data that a user names.

    Args:
        spec: one of `FORMS`. A folder called as a data set is written `./digits`.
        split: `train` or `test`. A folder has them as sub-folders; an .npz file has one only.
        size: (H, W); None for the images' own. Image files are resized and cropped, arrays
            padded with black.
        channels: 1, 3 or 4; None for the images' own, and 3 for image files.

    Raises:
        ValueError: no such data, split, size or channels; data that are damaged or do not fit.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be train or test, got {split!r}")
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be (H, W) of at least 1x1, got {size}")
    name, _, place = spec.partition(":")
    if name in NAMED:
        return fitted(NAMED[name](place, split), size, channels)
    path = Path(spec).expanduser()
    if path.is_dir():
        return folder(path, split, size, RGB if channels is None else channels)
    if path.is_file() and path.suffix.lower() == ".npz":
        return fitted(_arrays(path, split), size, channels)
    raise ValueError(f"no data {spec!r}; {_near(name)}give {FORMS}")


def _near(name: str) -> str:
    near = get_close_matches(name.lower(), NAMED)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _arrays(path: Path, split: str) -> Source:
    if split != "train":
        raise ValueError(f"{path} has no {split} split; give the file that holds those images")
    return arrays(path)


def _digits(place: str, split: str) -> Source:
    if place:
        raise ValueError(f"digits come with scikit-learn and take no folder, got {place!r}")
    return digits(split)


def _fashion(place: str, split: str) -> Source:
    return fashion_mnist(Path(place).expanduser() if place else None, split)


def _downloaded(place: str, split: str) -> Source:
    if not place:
        raise ValueError("say where to keep the files: fashion-mnist+download:/FOLDER")
    return downloaded(Path(place).expanduser(), split)


NAMED: dict[str, Callable[[str, str], Source]] = {
    "fashion-mnist": _fashion,
    "fashion-mnist+download": _downloaded,
    "digits": _digits,
}
