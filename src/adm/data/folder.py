"""Folder of image files, or one -> Tree."""

import os
from collections.abc import Iterator
from pathlib import Path

from adm.data.files import Files
from adm.data.labels import Tree
from adm.data.naming import MAX_BYTES, in_order, is_image, open_regular
from adm.shown import shown_path

MOST_FILES = 1 << 24  # of any kind, with the folders
MOST_DEPTH = 64  # of nested folders


def image_folder(path: Path) -> Tree:
    """List the files of a folder, at any depth, without opening them.

    Each sub-folder with images is a class; without sub-folders, all images are of one class, named
    after the folder. If all sub-folders are splits (`labels.SPLITS`), the classes are within them
    and have the same numbers in all. Classes and files are in natural order (2 before 10); hidden
    files and folders are ignored. Links to files are files; a folder that is linked is listed once.

    Raises:
        ValueError: a folder that cannot be read, a pipe or a device with the name of an image, or
            more than `MOST_FILES` or `MOST_DEPTH`.
    """
    names, title = in_order(_names(path)), path.resolve().name

    def path_of(row: int) -> str:
        return os.path.join(path, names[row])

    files = Files(
        lambda row: open_regular(path_of(row), MAX_BYTES), lambda row: shown_path(path_of(row))
    )
    return Tree(title, title, shown_path(path), names, files)


def image_file(path: Path) -> Tree:
    """Return the tree of one image, whose class is its name."""
    files = Files(lambda _: open_regular(path, MAX_BYTES), lambda _: shown_path(path))
    title = path.resolve().stem
    return Tree(title, title, shown_path(path), [path.name], files)


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
        start = f"{folder}/" if folder else ""
        deep = start.count("/") > MOST_DEPTH
        for entry in _entries(root / folder, listed):
            count += 1
            if deep or count > MOST_FILES:
                raise ValueError(
                    f"{shown_path(root)} has more than {MOST_FILES} files or, at "
                    f"{shown_path(start + entry.name)}, more than {MOST_DEPTH} nested folders; "
                    "give another folder, or pack the images into shards"
                )
            if os.path.isdir(entry):  # False for a broken link
                (links if entry.is_symlink() else waiting).append(start + entry.name)
                continue
            if is_image(entry.name) and not os.path.isfile(entry) and os.path.exists(entry):
                open_regular(entry.path)  # raises ValueError: it is a pipe or a device
            yield start + entry.name


def _entries(folder: Path, listed: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden; none if it is absent or in `listed`."""
    try:
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in listed:
            return []
        listed.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(
            f"{shown_path(error.filename)} cannot be listed ({error.strerror}); make it readable"
        ) from None
