"""Images -> the files of a sample folder."""

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
