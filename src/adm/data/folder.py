"""Folder of image files -> Files: encoded images with labels."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from adm.data.files import Files
from adm.data.layout import select_split
from adm.data.naming import in_order


def image_folder(path: Path, split: str = "train", labels: str | None = None) -> Files:
    """List the image files of a folder, at any depth, without opening them.

    Each sub-folder with images is a class; without sub-folders, all images are of one class, named
    after the folder. If all sub-folders are splits (`layout.SPLITS`), the classes are within them
    and have the same numbers in all. Classes and files are in natural order (2 before 10); hidden
    files and folders are ignored.

    Args:
        path: the folder.
        split: `train` or `test`.
        labels: another rule or a list; see `labels.labelled`.

    Raises:
        ValueError: no images, no such split, images beside class folders, a folder that cannot be
            read, or labels that do not fit.
    """
    names = in_order(_names(path))

    def inside(name: str) -> bytes | None:
        file = path / name
        return file.read_bytes() if file.is_file() else None

    found = select_split(names, split, labels, path.resolve().name, str(path), inside)

    def where(index: int) -> str:
        return os.path.join(path, names[found.used[index]])

    def open_(index: int) -> BinaryIO:
        return open(where(index), "rb")

    return Files(
        path.resolve().name,
        found.classes,
        torch.from_numpy(found.labels),
        open_,
        where,
        left_out=found.left_out,
    )


def _names(root: Path) -> Iterator[str]:
    """Names of the files below a folder, relative to it; none if it does not exist."""
    for here, folders, files in os.walk(root, onerror=_unlisted, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".") and not _returns(here, f)]
        relative = os.path.relpath(here, root).replace(os.sep, "/")
        yield from files if relative == "." else (f"{relative}/{name}" for name in files)


def _returns(here: str, name: str) -> bool:
    """Whether a folder is a link to one of its parents, and would be walked without end."""
    link = os.path.join(here, name)
    if not os.path.islink(link):
        return False
    return Path(here).resolve().is_relative_to(Path(link).resolve())


def _unlisted(error: OSError) -> None:
    # By default, os.walk ignores a folder that it cannot read, and a class would be missing.
    if not isinstance(error, FileNotFoundError):
        raise ValueError(f"{error.filename} cannot be listed ({error.strerror}); make it readable")
