""".zip or .tar archive of image files -> Tree, read in place.

Nothing is extracted, and names of members are never used as paths; links and folders are skipped.
"""

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adm.data.files import CorruptImage, Files
from adm.data.labels import SPLITS, Tree
from adm.data.lists import MOST_BYTES
from adm.data.naming import (
    LONGEST_NAME,
    MAX_BYTES,
    check_size,
    in_order,
    is_image,
    open_regular,
    plain,
)
from adm.shown import shown_path

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # which do not unpack more than they state
ENCRYPTED = 0x1
MOST_MEMBERS = 1 << 22  # of one archive
MAX_READ = 1 << 20  # bytes of a member of a .tar whose content is returned
# Raised by zipfile and tarfile for damage: of one member, and of the archive.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError)
UNREADABLE = (*DAMAGE, tarfile.TarError, OSError, MemoryError)


class Entry(NamedTuple):
    """A file in a .tar archive."""

    name: str  # normalised to a plain relative path
    offset: int  # of the content, in bytes
    size: int  # bytes


def zip_archive(path: Path) -> Tree:
    """Index the files of a .zip archive, whose members are stored or deflated.

    Labels are those of a folder with the same files (`folder.image_folder`). A single top-level
    folder that contains all others, and nothing else, is skipped.

    Raises:
        ValueError: not an archive, damaged, or over `MOST_MEMBERS`; members that are encrypted or
            compressed otherwise.
    """
    try:
        archive = zipfile.ZipFile(path)
        files = (each for each in archive.infolist() if each.filename and not each.is_dir())
        regular = (each for each in files if not stat.S_ISLNK(each.external_attr >> 16))
        members = {plain(info.filename): info for info in regular}
        _check_names(members)
        if len(members) > MOST_MEMBERS:
            raise ValueError(f"it has more than {MOST_MEMBERS} entries")
        strange = [each for each in members.values() if each.compress_type not in METHODS]
        strange += [each for each in members.values() if each.flag_bits & ENCRYPTED]
        if strange:
            raise ValueError(f"{strange[0].filename} is encrypted, or neither stored nor deflated")
    except UNREADABLE as error:
        raise ValueError(
            f"{shown_path(path)} is not a readable .zip ({shown_path(error)}); download or create "
            "it again"
        ) from None

    def read(name: str) -> bytes:
        where, info = shown_path(f"{path}/{name}"), members[name]
        check_image(where, info.file_size)
        try:
            with archive.open(info) as file:
                return file.read(info.file_size)  # no more, even if it inflates to more
        except DAMAGE as error:
            raise CorruptImage(
                where,
                f"{where} is damaged ({shown_path(error)}); download or create the archive again",
            ) from None

    return _tree(path, members, read)


def tar_archive(path: Path) -> Tree:
    """Index the files of a .tar archive, as `zip_archive`.

    Raises:
        ValueError: not an uncompressed .tar, or damaged.
    """
    members = {entry.name: entry for entry, _ in tar_entries(path)}
    return _tree(path, members, lambda name: read_entry(path, members[name]))


def tar_entries(
    path: Path, select: Callable[[str], bool] = lambda name: False
) -> Iterator[tuple[Entry, bytes]]:
    """Iterate over the regular files of a .tar archive, with the content of those selected.

    Of a file that is not selected, or is over `MAX_READ` bytes, only the header is read; its
    content is empty.

    Args:
        path: the archive, not compressed.
        select: name -> whether to read the content.

    Raises:
        ValueError: not an uncompressed .tar, damaged, or over `MOST_MEMBERS` entries.
    """
    with open_regular(path) as file:
        try:
            yield from _walk(file, select)
        except UNREADABLE as error:
            raise ValueError(
                f"{shown_path(path)} is damaged or not an uncompressed .tar "
                f"({shown_path(error) or type(error).__name__}); download it again, or decompress "
                "it"
            ) from None


def read_entry(path: Path, entry: Entry) -> bytes:
    """Read one file; each call opens the archive, so that threads share no file position.

    Raises:
        CorruptImage: it is over `MAX_BYTES`.
    """
    check_image(shown_path(f"{path}/{entry.name}"), entry.size)
    with path.open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size)


def _walk(file: BinaryIO, select: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes]]:
    total, before = file.seek(0, io.SEEK_END), -1
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
        for _ in range(MOST_MEMBERS):
            member = archive.next()
            if member is None:
                break
            archive.members = []  # type: ignore[attr-defined]  # or it would grow
            if member.offset <= before or member.size < 0:
                raise ValueError(f"a size below 0 at byte {member.offset}")
            before = member.offset
            if member.issparse():
                raise ValueError("it has sparse files; create it without --sparse")
            if not member.isreg():
                continue
            start, size = member.offset_data, member.size
            _check_names([name := plain(member.name)])
            if start + size > total:
                raise ValueError(f"it ends within {name}")
            content = b""
            if size <= MAX_READ and select(name):
                file.seek(start)
                content = file.read(size)
            yield Entry(name, start, size), content
        else:
            raise ValueError(f"it has more than {MOST_MEMBERS} entries")
        file.seek(archive.offset)  # a damaged header looks to tarfile like the end
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError(f"no header at byte {archive.offset}")


def _tree(path: Path, members: Collection[str], read: Callable[[str], bytes]) -> Tree:
    """The files of an archive by plain names of `members`, whose content `read` returns."""
    wrapper = _wrapper(members)

    def inside(name: str) -> bytes | None:
        if f"{wrapper}{name}" not in members:
            return None
        content = read(f"{wrapper}{name}")
        check_size(len(content), f"{path}/{name}", MOST_BYTES)
        return content

    names = in_order(name.removeprefix(wrapper) for name in members)
    files = Files(
        lambda row: io.BytesIO(read(f"{wrapper}{names[row]}")),
        lambda row: shown_path(f"{path}/{names[row]}"),
    )
    return Tree(path.name, path.stem, shown_path(path), names, files, inside)


def _wrapper(names: Iterable[str]) -> str:
    """`top/`, if all images are in at least two folders below it, or in splits; else empty."""
    parts = [name.split("/") for name in names if is_image(name.rpartition("/")[2])]
    tops = {part[0] for part in parts}
    seconds = {part[1] if len(part) > 2 else None for part in parts}
    splits = {folder for folders in SPLITS.values() for folder in folders}
    if len(tops) != 1 or None in seconds or (len(seconds) < 2 and not seconds <= splits):
        return ""
    return f"{tops.pop()}/"


def _check_names(names: Iterable[str]) -> None:
    longest = max(names, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise ValueError(f"a name of {len(longest)} characters")


def check_image(where: str, size: int) -> None:
    """Raise CorruptImage if an image has more than `MAX_BYTES`."""
    try:
        check_size(size, where, MAX_BYTES)
    except ValueError as error:
        raise CorruptImage(where, str(error)) from None
