""".tar archive -> name, offset and size of each regular file in it; nothing is extracted."""

import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from adm.data.naming import plain

BLOCK = 512
REGULAR = (b"0", b"\0", b"7")
LONG_NAME, EXTENDED = b"L", b"x"  # GNU and POSIX (pax) records that describe the next entry
POSIX_MAGIC = b"ustar\0"  # with it, the prefix field may have the start of a name
CHECKSUM = slice(148, 156)
MAX_READ = 1 << 20  # bytes of a name, or of the content of a file that is returned
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
        ValueError: not an uncompressed .tar, or damaged.
    """
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; download or create it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            yield from _walk(data, wanted)
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged or not an uncompressed .tar ({error}); download it again, or "
                "decompress it"
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
        if size < 0:  # would cause an infinite loop
            raise ValueError(f"the entry at byte {offset} has a size of {size}")
        if of_next:
            known |= _records(kind, data, start, size)
        else:
            if kind in REGULAR:
                name = plain(known.get("path") or _name(header))
                if start + size > len(data):
                    raise ValueError(f"it ends within {name}")
                given = size <= MAX_READ and wanted(name)
                yield Entry(name, start, size), data[start : start + size] if given else b""
            known = {}
        offset = start + -(-size // BLOCK) * BLOCK
    if offset != len(data):
        raise ValueError("it is cut short")


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
    return int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == POSIX_MAGIC else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _records(kind: bytes, data: mmap.mmap, start: int, size: int) -> dict[str, str]:
    """The `path`, and the `size` from eight gigabytes on, in a record before an entry."""
    if size > MAX_READ:
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
