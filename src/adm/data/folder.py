"""Folder of image files, or one -> Tree."""

import os
from collections.abc import Iterator
from pathlib import Path

from adm.data.files import Files
from adm.data.labels import Tree
from adm.data.naming import MAX_BYTES, in_order, open_regular
from adm.shown import shown_path

MOST_FILES = 1 << 24  # of any kind, with the folders
MOST_DEPTH = 64  # of nested folders


def image_folder(path: Path) -> Tree:
    """List the files of a folder, at any depth, without opening them.

    Each sub-folder with images is a class; without sub-folders, all images are of one class, named
    after the folder. If all sub-folders are splits (`labels.SPLITS`), the classes are within them
    and have the same numbers in all. Classes and files are in natural order (2 before 10); hidden
    files and folders are ignored. Links are followed.

    Raises:
        ValueError: a folder that cannot be read, or more than `MOST_FILES` or `MOST_DEPTH`.
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
    """Names of the files below a folder, relative to it.

    Each folder is listed once: links to those inside of the root, or around it, are passed over.
    """
    whole, listed, count = root.resolve(), set[Path](), 0

    def to_list(path: Path) -> bool:
        if path.name.startswith("."):
            return False
        if not path.is_symlink():
            return True
        target, known = path.resolve(), len(listed)
        listed.add(target)
        nested = target.is_relative_to(whole) or whole.is_relative_to(target)
        return len(listed) > known and not nested

    for place, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folder = Path(place)
        folders[:] = [name for name in sorted(folders) if to_list(folder / name)]
        count += len(files) + len(folders)
        inside = folder.relative_to(root)
        if count > MOST_FILES or len(inside.parts) > MOST_DEPTH:
            raise ValueError(
                f"{shown_path(root)} has more than {MOST_FILES} files or, at "
                f"{shown_path(inside)}, more than {MOST_DEPTH} nested folders; give another "
                "folder, or pack the images into shards"
            )
        start = f"{inside.as_posix()}/" if inside.parts else ""
        yield from (start + name for name in files)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise ValueError(
            f"{shown_path(error.filename)} cannot be listed ({error.strerror}); make it readable"
        ) from None
