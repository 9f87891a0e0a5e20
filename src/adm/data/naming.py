"""File names -> image files in natural order; path -> path with ~ expanded, regular file."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from adm.shown import shown, shown_path
from adm.store.samples import ARCHIVE, MANIFEST, PICTURES

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff")
LONGEST_NAME = 4_096  # characters of a path, or of a name in an archive
MAX_BYTES = 1 << 29  # of one encoded image
DIGITS = re.compile(r"([0-9]+)")
ADDRESS = re.compile(r"[a-z][a-z0-9+-]+://", re.IGNORECASE)  # C:// would be a drive


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key for natural order: runs of digits compare as numbers, letters regardless of case."""
    parts: list[str | int] = list(DIGITS.split(name.casefold()))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def is_image(name: str) -> bool:
    """Whether a file is not hidden and has the extension of an image."""
    stem, _, extension = name.rpartition(".")
    return bool(stem) and not stem.startswith(".") and extension.lower() in EXTENSIONS


def plain(name: str) -> str:
    """The name of an archive's member as a plain relative path: without leading /, `.` and `..`.

    A name without / may have backslashes instead, as some Windows programs write them.
    """
    if "/" not in name:
        name = name.replace("\\", "/")
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def in_order(names: Iterable[str]) -> list[str]:
    """The image files in natural order, folder by folder, parents before their sub-folders.

    Hidden files and folders are ignored, and so are the pictures of all samples in a sample folder.
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    sampled: set[str] = set()
    for name in names:
        folder, _, last = name.rpartition("/")
        if is_image(last):
            folders[folder].append(last)
        elif last in (ARCHIVE, MANIFEST):
            sampled.add(folder)
    for folder in sampled & folders.keys():
        folders[folder] = [last for last in folders[folder] if last not in PICTURES]
    visible = {
        folder: [natural(part) for part in folder.split("/")] if folder else []
        for folder in folders
        if not folder.startswith(".") and "/." not in folder
    }
    return [
        f"{folder}/{last}" if folder else last
        for folder in sorted(visible, key=visible.__getitem__)
        for last in sorted(folders[folder], key=natural)
    ]


def at_home(path: str | Path) -> Path:
    """Expand ~ and ~NAME.

    Raises:
        ValueError: no such home folder, or not a path, such as the address of a bucket.
    """
    try:
        if len(str(path)) > LONGEST_NAME:
            raise ValueError(
                f"{shown_path(path)} has {len(str(path))} characters, over {LONGEST_NAME}; shorten "
                "it"
            )
        if "\0" in str(path):
            raise ValueError(f"{shown_path(path)} has a NUL character, and is no path; remove it")
        if ADDRESS.match(str(path)):
            raise ValueError(
                f"{shown_path(path)} is an address, and adm reads and writes local paths; mount "
                "the bucket, or copy it with its own tool"
            )
        return Path(path).expanduser()
    except TypeError:
        raise ValueError(f"a path must be text or a Path, got {shown(path)}") from None
    except RuntimeError:
        name = shown_path(path)
        raise ValueError(
            f"{name}: there is no such home folder; write ./{name} for a path in this one"
        ) from None


def open_regular(path: str | Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Args:
        limit: largest size in bytes; None for any.

    Raises:
        ValueError: another kind of file, which might be read without end, or a larger one.
        OSError: it cannot be opened.
    """
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        what = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe, a socket or a device"
        raise ValueError(f"{shown_path(path)} is {what}, expected a file; remove or replace it")
    if limit is not None:
        check_size(facts.st_size, path, limit)
    return open(path, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; the errors are those of `open_regular`."""
    with open_regular(path, limit) as file:
        return file.read(limit)


def check_size(size: int, path: object, limit: int) -> None:
    """Raise ValueError if a file has more bytes than the limit."""
    if size > limit:
        raise ValueError(f"{shown_path(path)} has {size} bytes, over {limit}; remove it")
