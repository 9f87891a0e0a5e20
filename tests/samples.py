"""Images -> a sample folder, or an .npz file; a folder -> the contents of its files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from adm.generation.pngs import file_names, write_parts


def save_images(
    out: Path, images: Tensor, labels: Tensor | None, classes: Sequence[str], seed: int = 0
) -> list[Path]:
    """Write (N, C, H, W) uint8; return the paths of the PNG files."""
    names = file_names(len(images), labels, classes, seed)
    write_parts(out, tuple(images.shape), images.split(3), labels, names)
    return [out / name for name in names]


def archive(path: Path, images: Tensor, labels=None, classes=None) -> Path:
    """Write (N, C, H, W) as the .npz file of a sample folder; labels and names are left out."""
    arrays = {"arr_0": images.permute(0, 2, 3, 1), "arr_1": labels, "classes": classes}
    np.savez(path, **{name: np.asarray(each) for name, each in arrays.items() if each is not None})
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def never(*_: object, **__: object) -> None:
    """Stand in for a function whose output exists already."""
    raise AssertionError("it was there already")
