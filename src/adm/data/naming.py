"""names of files -> where they are, their natural order, and which of them are images."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff")
DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key: runs of digits count as numbers, letters without regard to case."""
    parts: list[str | int] = list(DIGITS.split(name.casefold()))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def is_image(name: str) -> bool:
    """Whether a visible file is an image by its extension."""
    stem, _, extension = name.rpartition(".")
    return bool(stem) and not stem.startswith(".") and extension.lower() in EXTENSIONS


def plain(name: str) -> str:
    """A member's name as a relative one: without leading /, `.` and `..`.

    Some programs for Windows separate folders by backslashes, and then by nothing else.
    """
    if "/" not in name:
        name = name.replace("\\", "/")
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def in_order(names: Iterable[str]) -> list[str]:
    """Images by their relative names, folder by folder, each folder's own before those below it.

    Hidden files and folders are passed over.
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, last = name.rpartition("/")
        if is_image(last):
            folders[folder].append(last)
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
    """The same with ~ and ~NAME written out.

    Raises:
        ValueError: nobody is called so.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path}: there is no such home; write ./{path} for a folder here"
        ) from None
