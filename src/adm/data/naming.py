"""File names -> image files in natural order; path -> path with ~ expanded."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from adm.shown import shown, shown_path

ARCHIVE, MANIFEST = "samples.npz", "samples.json"  # in a sample folder
BASE = "base"  # folder in it of the sampled images that an upsampler started from
SHEET, ANIMATION = "grid.png", "denoising.gif"  # pictures of the samples, and not samples
EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff")
LONGEST_NAME = 4_096  # characters of a path, or of a name in an archive
DIGITS = re.compile(r"([0-9]+)")


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


def check_name(name: str) -> None:
    """Raise ValueError if a path, or the name of an archive's member, is too long."""
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"{shown_path(name)} has {len(name)} characters, over {LONGEST_NAME}; shorten the name"
        )


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
        folders[folder] = [last for last in folders[folder] if last not in (SHEET, ANIMATION)]
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
        ValueError: no such home folder, or not a path.
    """
    try:
        check_name(str(path))
        if "\0" in str(path):
            raise ValueError(f"{shown_path(path)} has a NUL character, and is no path; remove it")
        return Path(path).expanduser()
    except TypeError:
        raise ValueError(f"a path must be text or a Path, got {shown(path)}") from None
    except RuntimeError:
        given = shown_path(path)
        raise ValueError(
            f"{given}: there is no such home folder; write ./{given} for a path in this one"
        ) from None
