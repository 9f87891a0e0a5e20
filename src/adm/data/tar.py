"""a .tar -> where each regular file in it lies; nothing is extracted."""

import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from adm.data.naming import plain

BLOCK = 512
REGULAR = (b"0", b"\0", b"7")
LONG_NAME, EXTENDED = b"L", b"x"  # of GNU and of POSIX (pax): records on the entry that follows
POSIX_MAGIC = b"ustar\0"  # with it, a name may go on in the prefix field
CHECKSUM = slice(148, 156)
LONGEST = 1 << 20  # bytes of a name, or of content that is given
ADLER = 65521


class Entry(NamedTuple):
    name: str  # relative and plain, whatever the archive says
    offset: int  # of its content, in bytes
    size: int


def entries(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes]]:
    """The regular files of an archive, in order, with the content of those wanted.

    Links, folders and devices are passed over; of what is not wanted, or over `LONGEST` bytes, only
    headers are read.

    Raises:
        ValueError: no plain .tar, or damaged.
    """
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; fetch or make it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            yield from _walk(data, wanted)
        except ValueError as error:
            raise ValueError(
                f"{path} is no plain .tar, or damaged ({error}); fetch it again, or unpack what is "
                "compressed"
            ) from None


def _walk(data: mmap.mmap, wanted: Callable[[str], bool]) -> Iterator[tuple[Entry, bytes]]:
    offset, known = 0, dict[str, str]()
    while offset + BLOCK <= len(data):
        header = data[offset : offset + BLOCK]
        if header[0] == 0 and not any(header):
            return
        if not _is_sound(header):
            raise ValueError(f"no header at byte {offset}")
        kind, size = header[156:157], _number(header[124:136])
        start, of_next = offset + BLOCK, kind in (LONG_NAME, EXTENDED)
        if not of_next:
            size = int(known.get("size", size))
        if size < 0:  # the walk would come back here for ever
            raise ValueError(f"the entry at byte {offset} has a size of {size}")
        if of_next:
            known |= _records(kind, data, start, size)
        else:
            if kind in REGULAR:
                name = plain(known.get("path") or _name(header))
                if start + size > len(data):
                    raise ValueError(f"it ends within {name}")
                given = size <= LONGEST and wanted(name)
                yield Entry(name, start, size), data[start : start + size] if given else b""
            known = {}
        offset = start + -(-size // BLOCK) * BLOCK
    if offset != len(data):
        raise ValueError("it is cut short")


def _is_sound(header: bytes) -> bool:
    """Whether its bytes, the checksum read as spaces, add up to the checksum.

    The low half of Adler-32 is 1 plus their sum, and many times faster than `sum`.
    """
    total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[CHECKSUM]) + 8 * ord(" ")
    return (total - _number(header[CHECKSUM])) % ADLER == 0


def _number(field: bytes) -> int:
    """Octal digits, or with the highest bit set a big-endian number."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == POSIX_MAGIC else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _records(kind: bytes, data: mmap.mmap, start: int, size: int) -> dict[str, str]:
    """What precedes an entry says of it: `path`, and `size` of eight gigabytes and more."""
    if size > LONGEST:
        raise ValueError(f"a name of {size} bytes")
    content = data[start : start + size]
    if kind == LONG_NAME:
        return {"path": content.partition(b"\0")[0].decode("utf-8", "replace")}
    found = {}
    while content:
        length = int(content.partition(b" ")[0])
        if not 0 < length <= len(content):
            raise ValueError("an extended header that does not end")
        key, _, value = content[:length].partition(b" ")[2].partition(b"=")
        if key in (b"path", b"size"):
            found[key.decode()] = value.rstrip(b"\n").decode("utf-8", "replace")
        content = content[length:]
    return found
