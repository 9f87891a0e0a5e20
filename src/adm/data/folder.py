"""a folder of image files, a class a sub-folder -> labelled images."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from adm.data import pixels
from adm.data.source import Source

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff")
# Pillow tries no other decoder, whatever a file's bytes say: some start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "validation")}
CHECKED = 10_000  # headers: seconds, where those of a million files would take many minutes
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 turn the picture by a quarter


def folder(
    path: Path,
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int = 3,
    check: bool = True,
) -> Source:
    """Open a folder of image files, decoded when read.

    Each sub-folder that holds images, at any depth, is a class; without sub-folders, the folder
    is one class of its own name. Where all sub-folders are splits (`train`; `test`, `val`), the
    classes lie within them and are numbered alike in all. Classes and files sort naturally (2
    before 10); hidden files and folders are passed over.

    Args:
        path: the folder.
        split: `train` or `test`.
        size: (H, W) to which each image is resized and cropped (`pixels.cover`); None keeps
            their own, which must then be equal.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        check: read headers now, of up to `CHECKED` files spread over all, rather than find a
            broken one hours later; where `size` is None, all are read in any case.

    Raises:
        ValueError: no images, no such split, images beside class folders, unequal sizes, or a
            file that is no image, broken, or larger than `pixels.MAX_PIXELS`; raised for pixels
            that are broken behind a sound header when the image is read.
    """
    pixels.mode_of(channels)
    classes, files, labels = _listed(path, split)
    if check or size is None:
        stride = 1 if size is None else -(-len(files) // CHECKED)
        _check(files[::stride], equal=size is None)

    def read(index: int) -> Tensor:
        with _opened(files[index]) as picture:
            upright = pixels.with_channels(ImageOps.exif_transpose(picture), channels)
            return pixels.to_tensor(pixels.cover(upright, size) if size else upright)

    return Source(path.resolve().name, classes, torch.tensor(labels), read)


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key: runs of digits count as numbers, letters without regard to case."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _listed(path: Path, split: str) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """The classes, the files, and each file's label."""
    splits = _splits(path)
    root = _split_root(path, splits, split)
    roots = splits or [path]
    names = {sub.name for each in roots for sub in _folders(each) if any(_images(sub))}
    classes = tuple(sorted(names, key=natural))
    loose = [file for file in _images(root) if file.parent == root]
    if classes and loose:
        raise ValueError(
            f"{loose[0]} lies beside class folders such as {classes[0]}; move it into its class"
        )
    found = [(file, label) for label, name in enumerate(classes) for file in _images(root / name)]
    found = found or [(file, 0) for file in loose]
    if not found:
        raise ValueError(
            f"{root} holds no images; looked in it and its sub-folders for names that end in "
            f"{', '.join(EXTENSIONS)}; give a folder of such files, a class a sub-folder"
        )
    return classes or (path.resolve().name,), [f for f, _ in found], [label for _, label in found]


def _splits(path: Path) -> list[Path]:
    """The sub-folders, where every one of them is named as a split."""
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    folders = _folders(path)
    return folders if all(sub.name in known for sub in folders) else []


def _split_root(path: Path, splits: list[Path], split: str) -> Path:
    for name in SPLIT_FOLDERS[split]:
        if path / name in splits:
            return path / name
    if split == "train" and not splits:
        return path
    raise ValueError(
        f"{path} has no {split} split: no sub-folder {' or '.join(SPLIT_FOLDERS[split])}; "
        "add one with the classes in it, or give the folder that holds those images"
    )


def _folders(path: Path) -> list[Path]:
    return [sub for sub in path.iterdir() if sub.is_dir() and not sub.name.startswith(".")]


def _images(root: Path) -> Iterator[Path]:
    """Image files at any depth, in natural order, folder by folder; none where root is absent."""
    for here, folders, files in os.walk(root, onerror=_unlisted):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural)
        for name in sorted(files, key=natural):
            if not name.startswith(".") and Path(name).suffix[1:].lower() in EXTENSIONS:
                yield Path(here, name)


def _unlisted(error: OSError) -> None:
    # os.walk would pass over what it may not read, and a class would be missing unnoticed.
    if not isinstance(error, FileNotFoundError):
        raise ValueError(f"{error.filename} cannot be listed ({error.strerror}); let it be read")


def _check(files: list[Path], equal: bool) -> None:
    first: tuple[int, int] | None = None
    for file in files:
        with _opened(file) as picture:
            high, wide = picture.height, picture.width
            if equal and picture.getexif().get(ORIENTATION, 1) >= 5:
                high, wide = wide, high
        first = first or (high, wide)
        if equal and (high, wide) != first:
            raise ValueError(
                f"{file} is {high}x{wide} and {files[0]} is {first[0]}x{first[1]}; "
                "give a size, to which all are resized and cropped"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose failures, here and in the caller's decoding, name the file."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > pixels.MAX_PIXELS:
                raise ValueError(
                    f"{picture.height}x{picture.width} is over {pixels.MAX_PIXELS} pixels"
                )
            yield picture
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no {', '.join(FORMATS)} image; replace or remove it") from None
    except Exception as error:  # Pillow's decoders raise many types, some of them undocumented
        raise ValueError(
            f"{path} is not a usable image ({error}); replace, shrink or remove it"
        ) from error
