"""Folder of image files -> Files: encoded images with labels."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from adm.data.files import Files, open_image
from adm.data.labels import select_split
from adm.data.lists import MOST_BYTES
from adm.data.naming import in_order, is_image, open_regular, read_regular
from adm.shown import printable, shown_path

MOST_FILES = 1 << 24  # of any kind, with the folders
MOST_DEPTH = 64  # of nested folders


def image_folder(path: Path, split: str = "train", labels: str | None = None) -> Files:
    """List the image files of a folder, at any depth, without opening them.

    Each sub-folder with images is a class; without sub-folders, all images are of one class, named
    after the folder. If all sub-folders are splits (`layout.SPLITS`), the classes are within them
    and have the same numbers in all. Classes and files are in natural order (2 before 10); hidden
    files and folders are ignored. Links to files are files; a folder that is linked is listed once.

    Args:
        path: the folder.
        split: `train` or `test`.
        labels: another rule or a list; see `labels.labelled`.

    Raises:
        ValueError: no images, no such split, images beside class folders, a folder that cannot be
            read, a pipe or a device with the name of an image, more than `MOST_FILES` or
            `MOST_DEPTH`, or labels that do not fit.
    """
    names = in_order(_names(path))

    def inside(name: str) -> bytes | None:
        file = path / name
        return read_regular(file, MOST_BYTES) if os.path.isfile(file) else None

    title = path.resolve().name
    found = select_split(names, split, labels, title, shown_path(path), inside)

    def where(index: int) -> str:
        return os.path.join(path, names[found.used[index]])

    def open_(index: int) -> BinaryIO:
        return open_image(where(index))

    return Files(
        printable(title),
        found.classes,
        torch.from_numpy(found.labels),
        open_,
        lambda index: shown_path(where(index)),
        left_out=found.left_out,
        listed=lambda index: names[found.used[index]],
    )


def _names(root: Path) -> Iterator[str]:
    """Names of the files below a folder, relative to it; none if it does not exist.

    Each folder is listed once, by its own name if it has one below the root, or else by the first
    link to it.
    """
    waiting, links, listed, count = [""], list[str](), set[tuple[int, int]](), 0
    while waiting or links:
        if not waiting:
            links.sort(reverse=True)
            waiting.append(links.pop())
        folder = waiting.pop()
        facts = _facts(root / folder)
        if facts is None or (facts.st_dev, facts.st_ino) in listed:
            continue
        listed.add((facts.st_dev, facts.st_ino))
        start = f"{folder}/" if folder else ""
        deep = start.count("/") > MOST_DEPTH
        for entry in _entries(root / folder):
            count += 1
            if deep or count > MOST_FILES:
                raise ValueError(
                    f"{shown_path(root)} has more than {MOST_FILES} files or, at "
                    f"{shown_path(start + entry.name)}, more than {MOST_DEPTH} nested folders; "
                    "give another folder, or pack the images into shards"
                )
            if _is(entry, entry.is_dir):
                (links if entry.is_symlink() else waiting).append(start + entry.name)
            else:
                _check_regular(entry)
                yield start + entry.name


def _facts(folder: Path) -> os.stat_result | None:
    try:
        return folder.stat()
    except OSError as error:
        return _absent(error)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What a folder contains, without what is hidden."""
    try:
        with os.scandir(folder) as found:
            yield from (entry for entry in found if not entry.name.startswith("."))
    except OSError as error:
        _absent(error)


def _absent(error: OSError) -> None:
    """Raise ValueError unless the folder is absent; without that, a class would be missing."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise ValueError(
            f"{shown_path(error.filename)} cannot be listed ({error.strerror}); make it readable"
        ) from None


def _is(entry: os.DirEntry[str], kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads nowhere; reading the file will say so
        return False


def _check_regular(entry: os.DirEntry[str]) -> None:
    """Raise ValueError if a name is that of an image, and what has it is a pipe or a device."""
    if is_image(entry.name) and not _is(entry, entry.is_file) and os.path.exists(entry.path):
        open_regular(entry.path).close()
