""".zip archive of image files -> Files: encoded images with labels, read in place."""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from adm.data.files import Files
from adm.data.layout import SPLITS, select_split
from adm.data.lists import MOST_BYTES as MOST_LIST_BYTES
from adm.data.naming import LONGEST_NAME, in_order, is_image, plain
from adm.data.regular import MAX_BYTES, check_size, open_regular
from adm.data.source import CorruptImage
from adm.shown import printable, shown_path

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of the name and the extra field
SIGNATURE = b"PK\x03\x04"
ENCRYPTED = 0x1
MOST_DIRECTORY = 1 << 27  # bytes of the list of members, enough for a million of them


class Member(NamedTuple):
    """Location of a file in its archive."""

    offset: int  # bytes
    stored: int  # bytes
    size: int  # bytes, decompressed
    check: int  # CRC-32
    deflated: bool


def zip_archive(path: Path, split: str = "train", labels: str | None = None) -> Files:
    """Index the image files of a .zip archive.

    Nothing is extracted, and member names are never used as paths. Labels are those of a folder
    with the same files (`folder.image_folder`). A single top-level folder that contains all others,
    and nothing else, is skipped.

    Args:
        path: the archive, whose members are stored or deflated.
        split: `train` or `test`.
        labels: another rule or a list; see `labels.labelled`.

    Raises:
        ValueError: not an archive, damaged, or over `MOST_DIRECTORY`; members that overlap, are
            encrypted or compressed otherwise; and as `folder.image_folder`.
    """
    members = _members(path)

    def read(name: str) -> bytes:
        return _content(path, name, members[name])

    return from_members(path, {name: name for name in members}, read, split, labels)


def from_members(
    path: Path,
    members: dict[str, str],
    read: Callable[[str], bytes],
    split: str,
    labels: str | None,
) -> Files:
    """Files of an archive.

    Args:
        path: the archive.
        members: plain name -> name of the member.
        read: name of a member -> its content.
        split: as in `zip_archive`.
        labels: as in `zip_archive`.
    """
    wrapper = _wrapper(list(members))
    bare = {name.removeprefix(wrapper): member for name, member in members.items()}
    names = in_order(bare)

    def inside(name: str) -> bytes | None:
        if name not in bare:
            return None
        content = read(bare[name])
        check_size(len(content), f"{path}/{name}", MOST_LIST_BYTES)
        return content

    found = select_split(names, split, labels, path.stem, shown_path(path), inside)

    def open_(index: int) -> BinaryIO:
        return io.BytesIO(read(bare[names[found.used[index]]]))

    return Files(
        printable(path.name),
        found.classes,
        torch.from_numpy(found.labels),
        open_,
        lambda index: shown_path(f"{path}/{names[found.used[index]]}"),
        left_out=found.left_out,
        listed=lambda index: names[found.used[index]],
    )


def _wrapper(names: list[str]) -> str:
    """`top/`, if all images are in at least two folders below it, or in splits; else empty."""
    parts = [name.split("/") for name in names if is_image(name.rpartition("/")[2])]
    tops = {part[0] for part in parts}
    seconds = {part[1] if len(part) > 2 else None for part in parts}
    splits = {folder for folders in SPLITS.values() for folder in folders}
    if len(tops) != 1 or None in seconds or (len(seconds) < 2 and not seconds <= splits):
        return ""
    return f"{tops.pop()}/"


class _Directory(io.FileIO):
    """A file of which no more than `MOST_DIRECTORY` bytes are read at once.

    `zipfile` reads the whole list of members at once, by the size that the archive states.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # of the end of the file, where the place of the list is
            size = MOST_DIRECTORY
        if size > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"the list of its members is over {MOST_DIRECTORY} bytes")
        return super().read(size)


def _members(path: Path) -> dict[str, Member]:
    """Regular files by their plain names, without links and folders."""
    try:
        with open_regular(path) as file, _Directory(os.dup(file.fileno())) as directory:
            total = file.seek(0, io.SEEK_END)
            with zipfile.ZipFile(directory) as archive:
                infos = archive.infolist()
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from None
    members = {
        plain(info.filename): _member(path, info)
        for info in infos
        if info.filename and not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
    }
    end = 0
    for member in sorted(members.values()):
        # Overlapping members would unpack to much more than the archive contains.
        if member.offset < end or member.offset + member.stored > total:
            raise _unreadable(path, "its members overlap or are outside of it")
        end = member.offset + LOCAL_HEADER.size + member.stored
    return members


def _unreadable(path: Path, reason: object) -> ValueError:
    return ValueError(
        f"{shown_path(path)} is not a readable .zip ({shown_path(reason)}); download or create it "
        "again"
    )


def _member(path: Path, info: zipfile.ZipInfo) -> Member:
    known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    where = shown_path(f"{path}/{info.filename}")
    if info.flag_bits & ENCRYPTED or not known:
        what = "encrypted" if info.flag_bits & ENCRYPTED else "compressed by another method"
        raise ValueError(
            f"{where} is {what}; create the archive with deflate or store, without encryption"
        )
    if len(info.filename) > LONGEST_NAME:
        raise ValueError(f"{where} is a name of over {LONGEST_NAME} characters; shorten it")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return Member(info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)


def _content(path: Path, name: str, member: Member) -> bytes:
    """Read one member; each call opens the archive, so that threads share no file position."""
    where = shown_path(f"{path}/{name}")
    if max(member.size, member.stored) > MAX_BYTES:
        raise CorruptImage(where, f"{where} has {member.size} bytes, over {MAX_BYTES}; remove it")
    with path.open("rb") as file:
        file.seek(member.offset)
        header = file.read(LOCAL_HEADER.size)
        if len(header) == LOCAL_HEADER.size:
            signature, *lengths = LOCAL_HEADER.unpack(header)
            if signature == SIGNATURE:
                file.seek(sum(lengths), io.SEEK_CUR)
                content = _unpacked(file.read(member.stored), member)
                if len(content) == member.size and zlib.crc32(content) == member.check:
                    return content
    raise CorruptImage(where, f"{where} is damaged; download or create the archive again")


def _unpacked(stored: bytes, member: Member) -> bytes:
    """Decompress no more than the size that the archive states, whatever the data hold."""
    if not member.deflated:
        return stored
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.size or 1)
    except zlib.error:
        return b""
