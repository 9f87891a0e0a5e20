"""File, bytes -> SHA-256; folder <-> SHA256SUMS, the hash of each of its files.

The format of SHA256SUMS is that of coreutils, so that `sha256sum -c SHA256SUMS` checks a folder.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from adm.store.files import new_file, write_text

SUMS = "SHA256SUMS"
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
LINE = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f]+)")
MOST_BYTES = 170_000_000  # of a SHA256SUMS; enough for two million images


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; it may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def seal(folder: Path) -> None:
    """Hash all files in a folder, once they are written, and write its SHA256SUMS.

    Of many files, only the names are in memory.
    """
    below = len(folder.as_posix()) + 1
    walked = ((Path(place).as_posix(), names) for place, _, names in os.walk(folder))
    paths = sorted(f"{place}/{name}"[below:] for place, names in walked for name in names)
    with new_file(folder / SUMS) as part, part.open("w", encoding="utf-8") as file:
        for name in paths:
            if name != SUMS and (folder / name).is_file():
                file.write(f"{sha256(folder / name)}  {name}\n")


def store_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write the SHA256SUMS of a folder, atomically.

    Args:
        sums: the hash of each file, by its path relative to the folder, with forward slashes.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_text(folder / SUMS, lines)


def read_sums(folder: Path) -> dict[str, str] | None:
    """Return the hash of each file by its relative path; None if the folder has no SHA256SUMS.

    Raises:
        ValueError: SHA256SUMS is damaged, a link or too large, or names a file twice or one that is
            outside of the folder.
        OSError: it cannot be read.
    """
    path = folder / SUMS
    if path.is_symlink():
        raise ValueError(f"{path} is a link")
    if not path.exists():
        return None
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} has more than {MOST_BYTES} bytes")
    sums = {}
    for number, line in enumerate(io.BytesIO(content), start=1):
        match = LINE.fullmatch(line.decode("utf-8", "replace").rstrip("\r\n"))
        outside = match and (match[2].startswith("/") or ".." in match[2].split("/"))
        if match is None or match[2] in sums or outside:
            raise ValueError(f"{path} is damaged in line {number}")
        sums[match[2]] = match[1]
    return sums


def damaged_parts(folder: Path, names: Iterable[str] | None = None) -> list[str]:
    """Return the files that are absent, or differ from what SHA256SUMS says, in order.

    Args:
        names: the files to check; all that SHA256SUMS lists by default. One that it does not list
            counts as damaged.

    Returns:
        Nothing if the folder has no SHA256SUMS.

    Raises:
        ValueError: SHA256SUMS is damaged.
        OSError: a file exists and cannot be read.
    """
    sums = read_sums(folder)
    if sums is None:
        return []
    return [
        name
        for name in (sums if names is None else names)
        if name not in sums or not (folder / name).is_file() or sha256(folder / name) != sums[name]
    ]
