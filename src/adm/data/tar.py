""".tar archive -> name, offset and size of each regular file in it; nothing is extracted."""

import io
import mmap
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adm.data.naming import LONGEST_NAME, plain
from adm.data.regular import open_regular
from adm.shown import printable, short, shown_path

BLOCK = 512
REGULAR = (b"0", b"\0", b"7")
# GNU and POSIX (pax) records that describe the next entry.
LONG_NAME, LONG_LINK, EXTENDED = b"L", b"K", b"x"
FOR_ALL = b"g"  # a pax record that describes all later entries
SPARSE = b"S"  # a GNU file with holes, whose content in the archive is not that of the file
POSIX_MAGIC = b"ustar\0"  # with it, the prefix field may have the start of a name
CHECKSUM = slice(148, 156)
OCTAL = re.compile(rb"-?[0-7]+")
LENGTH = re.compile(rb"[1-9][0-9]{0,6} ")  # of a pax record, which starts with it
DECIMAL = re.compile(r"[0-9]{1,19}")
MAX_READ = 1 << 20  # bytes of a name, or of the content of a file that is returned
MOST_RECORDS = 1_000  # in one extended header; usual ones have fewer than ten
MOST_MEMBERS = 1 << 22  # of one archive
ADLER = 65521


class Entry(NamedTuple):
    name: str  # a plain relative path, whatever the archive has
    offset: int  # of the content, in bytes
    size: int  # bytes


def entries(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes]]:
    """Iterate over the regular files of an archive, with the content of those wanted.

    Links, folders and devices are skipped. Of a file that is not wanted, or over `MAX_READ` bytes,
    only the header is read, and the content is empty.

    Args:
        path: the archive, not compressed.
        wanted: name -> whether to read the content.

    Raises:
        ValueError: not an uncompressed .tar, damaged, or over `MOST_MEMBERS` entries.
    """
    with open_regular(path) as file:
        try:
            yield from _entries(file, wanted)
        except ValueError as error:
            raise ValueError(
                f"{shown_path(path)} is damaged or not an uncompressed .tar ({error}); download it "
                "again, or decompress it"
            ) from None


def check_whole(path: Path) -> None:
    """Raise ValueError, with the reason, if an archive is damaged or lacks its end."""
    with open_regular(path) as file:
        for _ in _entries(file, lambda name: False, ended=True):
            pass


def _entries(
    file: BinaryIO, wanted: Callable[[str], bool], ended: bool = False
) -> Iterator[tuple[Entry, bytes]]:
    """As `entries`, with the reason alone in errors.

    Args:
        ended: whether the archive must have the empty block with which whole ones end.
    """
    if not file.seek(0, io.SEEK_END):
        raise ValueError("it is empty")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _walk(data, wanted, ended)


def _walk(
    data: mmap.mmap, wanted: Callable[[str], bool], ended: bool
) -> Iterator[tuple[Entry, bytes]]:
    offset, members, known = 0, 0, dict[str, str]()
    while offset + BLOCK <= len(data):
        header = data[offset : offset + BLOCK]
        if header[0] == 0 and not any(header):
            return
        if not _is_sound(header):
            raise ValueError(f"no header at byte {offset}")
        members += 1
        if members > MOST_MEMBERS:
            raise ValueError(f"it has more than {MOST_MEMBERS} entries")
        kind, start = header[156:157], offset + BLOCK
        descriptive = kind in (LONG_NAME, LONG_LINK, EXTENDED, FOR_ALL)
        size = _size(header, None if descriptive else known.get("size"), offset)
        if descriptive:
            known |= _records(kind, data, start, size)
        else:
            if kind == SPARSE:
                raise ValueError("it has sparse files; create it without --sparse")
            if kind in REGULAR:
                name = plain(known.get("path") or _name(header))
                if len(name) > LONGEST_NAME:
                    raise ValueError(f"a name of {len(name)} characters")
                if start + size > len(data):
                    raise ValueError(f"it ends within {shown_path(name)}")
                given = size <= MAX_READ and wanted(name)
                yield Entry(name, start, size), data[start : start + size] if given else b""
            known = {}
        offset = start + -(-size // BLOCK) * BLOCK
    if offset != len(data) or ended:
        raise ValueError("it is cut short")


def _size(header: bytes, recorded: str | None, offset: int) -> int:
    """The size of an entry in bytes; one below 0 would cause an infinite loop."""
    size = _number(header[124:136]) if recorded is None else -1
    if recorded is not None and DECIMAL.fullmatch(recorded):
        size = int(recorded)
    if size < 0:
        given = size if recorded is None else short(printable(recorded))
        raise ValueError(f"the entry at byte {offset} has a size of {given}")
    return size


def _is_sound(header: bytes) -> bool:
    """Whether the sum of its bytes, with the checksum field as spaces, equals the checksum.

    The low half of Adler-32 is 1 plus the sum, and is many times faster than `sum`.
    """
    total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[CHECKSUM]) + 8 * ord(" ")
    return (total - _number(header[CHECKSUM])) % ADLER == 0


def _number(field: bytes) -> int:
    """Decode octal digits, or a big-endian number if the highest bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not OCTAL.fullmatch(digits):
        raise ValueError(f"{digits} is no octal number")
    return int(digits, 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == POSIX_MAGIC else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _records(kind: bytes, data: mmap.mmap, start: int, size: int) -> dict[str, str]:
    """The `path`, and the `size` from eight gigabytes on, in a record before an entry."""
    if size > MAX_READ or start + size > len(data):
        raise ValueError(f"a name of {size} bytes")
    content = data[start : start + size]
    if kind == LONG_LINK:
        return {}
    if kind == LONG_NAME:
        return {"path": content.partition(b"\0")[0].decode("utf-8", "replace")}
    found, place = {}, 0
    for _ in range(MOST_RECORDS + 1):
        if place == size:
            break
        length = LENGTH.match(content, place)
        end = place + int(length[0]) if length else 0
        if length is None or not length.end() < end <= size or content[end - 1] != ord("\n"):
            raise ValueError("an extended header that does not end")
        key, _, value = content[length.end() : end - 1].partition(b"=")
        if key.startswith(b"GNU.sparse."):
            raise ValueError("it has sparse files; create it without --sparse")
        if key in (b"path", b"size"):
            found[key.decode()] = value.decode("utf-8", "replace")
        place = end
    else:
        raise ValueError(f"an extended header of more than {MOST_RECORDS} records")
    if kind == FOR_ALL and found:
        raise ValueError("a name or a size that is meant for all entries")
    return found
