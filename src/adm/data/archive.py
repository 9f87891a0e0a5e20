""".zip or .tar archive of image files -> Tree, read in place.

Nothing is extracted, and names of members are never used as paths.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adm.data.files import CorruptImage, Files
from adm.data.labels import SPLITS, Tree
from adm.data.naming import MAX_BYTES, check_size, in_order, open_regular, plain
from adm.shown import shown_path

MOST_MEMBERS = 1 << 22  # of one archive
# Raised by zipfile and tarfile for damage: of one member, and of the archive.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError)
UNREADABLE = (*DAMAGE, tarfile.TarError, OSError, MemoryError)


class Entry(NamedTuple):
    """A file in a .tar archive."""

    name: str  # a plain relative path
    offset: int  # of the content, in bytes
    size: int  # bytes


def archive(path: Path) -> Tree:
    """Index the image files of a .zip or an uncompressed .tar.

    Labels are those of a folder with the same files (`folder.image_folder`). A folder around all
    others, as `zip -r photos.zip photos` writes it, is skipped.

    Raises:
        ValueError: another kind of file, damaged, or over `MOST_MEMBERS`.
    """
    members = _zip(path) if path.suffix.lower() == ".zip" else _tar(path)
    names = in_order(members)

    def where(row: int) -> str:
        return shown_path(f"{path}/{names[row]}")

    def open_(row: int) -> BinaryIO:
        return io.BytesIO(members[names[row]](where(row)))

    files = Files(open_, where)
    return Tree(path.name, path.stem, shown_path(path), _without_top(names), files)


def tar_entries(path: Path) -> Iterator[Entry]:
    """Iterate over the regular files of a .tar archive, of which only the headers are read.

    Raises:
        ValueError: not an uncompressed .tar, damaged, or over `MOST_MEMBERS` entries.
    """
    with open_regular(path) as file:
        try:
            yield from _walk(file)
        except UNREADABLE as error:
            raise ValueError(
                f"{shown_path(path)} is damaged or not an uncompressed .tar "
                f"({shown_path(error) or type(error).__name__}); download it again, or decompress "
                "it"
            ) from None


def read_entry(file: BinaryIO, entry: Entry, where: str) -> bytes:
    """Read one file of an open .tar archive.

    Args:
        where: its location, for messages.

    Raises:
        ValueError: it is over `MAX_BYTES`.
    """
    check_size(entry.size, where, MAX_BYTES)
    file.seek(entry.offset)
    return file.read(entry.size)


def _zip(path: Path) -> Mapping[str, Callable[[str], bytes]]:
    """Return the readers of the files of a .zip by their names."""
    try:
        opened = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise ValueError(
            f"{shown_path(path)} is not a readable .zip ({shown_path(error)}); download or create "
            "it again"
        ) from None
    infos = [each for each in opened.infolist() if not each.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise ValueError(f"{shown_path(path)} has more than {MOST_MEMBERS} entries; split it")

    def read(info: zipfile.ZipInfo, where: str) -> bytes:
        check_size(info.file_size, where, MAX_BYTES)
        try:
            with opened.open(info) as file:
                return file.read(info.file_size)  # no more, even if it inflates to more
        except DAMAGE as error:
            raise CorruptImage(
                f"{where} is damaged ({shown_path(error)}); download or create the archive again",
            ) from None

    return {plain(info.filename): partial(read, info) for info in infos}


def _tar(path: Path) -> Mapping[str, Callable[[str], bytes]]:
    """Return the readers of the files of a .tar by their names."""

    def read(entry: Entry, where: str) -> bytes:
        with path.open("rb") as file:  # of its own, so that threads share no position
            return read_entry(file, entry, where)

    return {entry.name: partial(read, entry) for entry in tar_entries(path)}


def _walk(file: BinaryIO) -> Iterator[Entry]:
    total = file.seek(0, io.SEEK_END)
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for count, member in enumerate(opened):
            if count == MOST_MEMBERS:
                raise ValueError(f"it has more than {MOST_MEMBERS} entries")
            if member.size < 0:  # from which tarfile would go back
                raise ValueError(f"a size below 0 at byte {member.offset}")
            if member.isreg():
                if member.offset_data + member.size > total:
                    raise ValueError(f"it ends within {member.name}")
                yield Entry(plain(member.name), member.offset_data, member.size)
        file.seek(opened.offset)  # a damaged header looks to tarfile like the end
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError(f"no header at byte {opened.offset}")


def _without_top(names: list[str]) -> list[str]:
    """Names without the folder around all others, unless it is a split."""
    top = names[0].partition("/")[0] if names else ""
    splits = {folder for folders in SPLITS.values() for folder in folders}
    around = all(name.startswith(f"{top}/") and name.count("/") > 1 for name in names)
    return [name.partition("/")[2] for name in names] if around and top not in splits else names
