"""what the user calls them -> images to score, and how they were made where that is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adm.data import Source
from adm.data.export import ARCHIVE
from adm.data.files import Files, decoded
from adm.data.fitting import fitted
from adm.data.naming import at_home
from adm.data.registry import RGB, find
from adm.data.stored import stored
from adm.generation.folder import read_manifest


class Opened(NamedTuple):
    """Images.

    Attributes:
        source: the images, on disk.
        made: what samples of ours say of how they were made, or None.
    """

    source: Source
    made: dict[str, Any] | None = None


def open_images(
    spec: str,
    *,
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    labels: str | None = None,
    pad: bool = True,
) -> Opened:
    """Open samples or data.

    Args:
        spec: a folder that `adm sample` left, an .npz file of the released layout, or anything
            that `open_source` takes.
        split, size, channels, labels: see `open_source`.
        pad: whether arrays smaller than `size` get black margins, as real images have in training;
            samples are scored as they were made, and are refused otherwise.

    Raises:
        ValueError: as `open_source`; arrays of another size that are not to be padded.
    """
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be (H, W) of at least 1x1, got {size}")
    path = at_home(spec)
    ours = path.is_dir() and (path / ARCHIVE).is_file()
    made = read_manifest(path if path.is_dir() else path.parent) if ours or _archive(path) else None
    if labels is None and split == "train" and (ours or _is_npz(path)):
        classes = tuple(made["classes"]) if made and made.get("classes") else None
        source = stored(path / ARCHIVE if ours else path, classes)
        name = path.resolve().name if ours else source.name
        found = replace(source, name=name)
    else:
        made, found = None, find(spec, split=split, labels=labels)
    if isinstance(found, Files):
        return Opened(decoded(found, size, RGB if channels is None else channels))
    if not pad:
        _check_unpadded(found, size)
    return Opened(fitted(found, size, channels), made)


def first(source: Source, count: int) -> Source:
    """The first so many images.

    Raises:
        ValueError: there are not as many.
    """
    if not 2 <= count <= len(source):
        raise ValueError(
            f"{source.name} has {len(source)} images and {count} were asked for; give a count "
            f"from 2 to {len(source)}"
        )
    return replace(source, labels=source.labels[:count])


def resized(source: Source, size: tuple[int, int]) -> Source:
    """The whole of each image at (H, W): bicubic, antialiased, rounded to the nearest level."""

    def at_size(images: Tensor) -> Tensor:
        found = F.interpolate(images.float(), size, mode="bicubic", antialias=True)
        return found.round().clamp(0, 255).to(torch.uint8)

    many = source.read_many
    read_many: Callable[[list[int]], Tensor] | None = None
    if many is not None:
        read_many = lambda indices: at_size(many(indices))  # noqa: E731
    return replace(
        source,
        read=lambda index: at_size(source.read(index)[None])[0],
        read_many=read_many,
        crop=None,
    )


def _check_unpadded(source: Source, size: tuple[int, int] | None) -> None:
    """Raise ValueError for samples in arrays of another size than image files are made."""
    own = source.read(0).shape[1:]
    if size is not None and tuple(own) != size:
        raise ValueError(
            f"{source.name} holds arrays of {own[0]}x{own[1]}, and --size {size[0]},{size[1]} is "
            "for image files and real images; leave it out (adm evaluate has --resize), or make "
            "the samples at that size"
        )


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and path.is_file()


def _archive(path: Path) -> bool:
    """Whether this is the archive within a folder of samples."""
    return path.name == ARCHIVE and path.is_file()
