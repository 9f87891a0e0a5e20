"""Images -> the files of a sample folder; a folder -> what its files hold."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from adm.data.export import file_names, write_parts


def save_images(
    out: Path, images: Tensor, labels: Tensor | None, classes: Sequence[str], seed: int = 0
) -> list[Path]:
    """Write (N, C, H, W) uint8; return the paths of the PNG files."""
    names = file_names(len(images), labels, classes, seed)
    write_parts(out, tuple(images.shape), images.split(3), labels, names)
    return [out / name for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
