"""Address of data in a store -> Source: shards are read in place, other data are fetched whole.

An image is read by its range of bytes. A shard of which several images were read is fetched whole,
in the background, into the user's cache, where the oldest shards make room for it. So data may be
larger than the disk, and what is read never depends on the cache.
"""

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import Field

from adm.data import shards
from adm.data.archive import MOST_MEMBERS, Entry, check_image, read_entry, tar_entries
from adm.data.lists import MOST_BYTES, Inside, Label
from adm.data.naming import ARCHIVE, LONGEST_NAME, MANIFEST
from adm.data.source import Source, Windows, processors
from adm.shown import shown_path
from adm.store.files import remove, user_cache, write_json
from adm.store.hashes import SUMS, sha256_of
from adm.store.locks import InUse, locked
from adm.store.parsed import Room, as_type, cached_json, parse_json
from adm.store.remote import FileInfo, Mirror, file_info, opened, reaching

MIXED_BYTES = 4 << 30  # of the shards whose images are mixed in one window of the order
CACHED_BYTES = 16 << 30  # of the shards in the cache
WHOLE_BYTES = 2 << 30  # of data other than shards
OFTEN = 16  # images read of a shard after which it is fetched
THREADS = 32  # that wait for a store at the same time
INDEX = ".index.json"  # in place of .tar: what `adm data pack` writes beside a shard
ROOM = Room(1 << 28, commas=1 << 24, quotes=1 << 23, colons=1 << 20, brackets=1 << 23)
_one_at_a_time = threading.Semaphore()

Size = Annotated[int, Field(ge=0, lt=1 << 63)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


@dataclass(frozen=True)
class Index:
    """The images of a shard.

    Attributes:
        bytes: of the archive.
        images: name, offset, size and label of each.
    """

    bytes: Size
    images: Annotated[list[tuple[Name, Size, Size, Label | None]], Field(max_length=MOST_MEMBERS)]


@dataclass(frozen=True, eq=False)
class Shard:
    """An archive in a store.

    Attributes:
        address: of the archive.
        info: its size and version.
        cached: its path in the cache, where it may be absent.
        reads: counts the images read from the store.
    """

    address: str
    info: FileInfo
    cached: Path
    reads: Iterator[int]

    def read(self, entry: Entry) -> bytes:
        """Return the content of an image, from the cache or the store."""
        check_image(f"{self.address}/{entry.name}", entry.size)
        with suppress(FileNotFoundError):
            return read_entry(self.cached, entry)
        if next(self.reads) % OFTEN == OFTEN - 1:
            threading.Thread(target=self.fetch, daemon=True).start()
        filesystem, path = opened(self.address)
        with reaching(self.address):
            end = entry.offset + entry.size
            content = filesystem.cat_file(path, start=entry.offset, end=end)
        if len(content) != entry.size:
            raise ValueError(f"{shown_path(self.address)} has changed; run the same command again")
        return content

    def fetch(self) -> None:
        """Fetch the shard into the cache, unless it is cached or a fetch is in progress."""
        if not _one_at_a_time.acquire(blocking=False):
            return
        part = self.cached.with_suffix(".part")
        try:
            with locked(self.cached.parent, f"{self.cached.stem}.fetch"):
                if not self.cached.is_file() and self._make_room():
                    filesystem, path = opened(self.address)
                    with reaching(self.address):
                        filesystem.get_file(path, str(part))
                    if part.stat().st_size == self.info.size:
                        part.replace(self.cached)
        except (InUse, OSError, ValueError):  # it is read by ranges
            pass
        finally:
            _one_at_a_time.release()
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _make_room(self) -> bool:
        """Remove the oldest shards until this one fits; return whether it does."""
        paths = sorted(self.cached.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in paths)
        limit = min(CACHED_BYTES, (total + shutil.disk_usage(self.cached.parent).free) // 2)
        for path in paths:
            if total + self.info.size <= limit:
                break
            total -= path.stat().st_size
            remove(path)
        return total + self.info.size <= limit


def find(address: str, split: str, labels: str | None, open_: Callable[[str], Source]) -> Source:
    """Open data at the address of a folder, of a file, or of archives with * and ?.

    Args:
        open_: opens data on the disk.

    Raises:
        ValueError: no data; data other than shards over `WHOLE_BYTES`; or as for data on the disk.
    """
    filesystem, path = opened(address)
    with reaching(address):
        filesystem.invalidate_cache()
        if path.endswith(".tar"):
            files = filesystem.glob(path, detail=True)
        else:
            files = filesystem.find(path, detail=True)
    if not files:
        raise ValueError(f"{shown_path(address)} has no data; check the address")
    folder = path if path not in files and not path.endswith(".tar") else path.rpartition("/")[0]
    root = address.rstrip("/")[: len(address.rstrip("/")) - len(path) + len(folder)]
    stored = {file[len(folder) + 1 :]: file_info(info) for file, info in files.items()}
    chosen = shards.in_folder(stored, split, address)
    if chosen:
        place = root if "/" not in chosen[0] else f"{root}/{chosen[0].rpartition('/')[0]}"
        if not path.endswith(".tar"):
            last = [name.rpartition("/")[2] for name in chosen]
            shards.check_whole(place, _reader(place), last)
        archives = [_shard(f"{root}/{name}", stored[name]) for name in chosen]
        samples = [
            s
            for each, index in zip(archives, _indexes(archives), strict=True)
            for s in _samples(each, index)
        ]
        if len(chosen) > 1 or shards.uses_own_labels(samples, labels):
            single = len(stored) == 1
            title = PurePosixPath(chosen[0]).stem if single else PurePosixPath(folder).name
            source = shards.source_of(
                samples, title, shown_path(place), _reader(place), split, labels
            )
            return _streaming(source, samples, archives)
    size = sum(each.size for each in stored.values())
    if size > WHOLE_BYTES:
        raise ValueError(
            f"{shown_path(address)} has {size / 1e9:.1f} GB that are no shards with labels; write "
            "shards with `adm data pack DATA --out ADDRESS`, which are read in place"
        )
    mirror = Mirror.at(address)
    mirror.pull()
    return open_(str(mirror.local))


def sample_folder(address: str) -> Path | None:
    """Return the copy of a sample folder in a store, without its single images; None for others."""
    if re.search(r"[*?]|\.tar$|\.npz$", address):
        return None
    mirror = Mirror.at(address)
    mirror.fetch(ARCHIVE, MANIFEST, SUMS)
    return mirror.local if (mirror.local / ARCHIVE).is_file() else None


def _shard(address: str, info: FileInfo) -> Shard:
    key = sha256_of(repr((address, info)).encode())[:16]
    return Shard(address, info, user_cache("shards") / f"{key}.tar", count())


def _indexes(archives: Sequence[Shard]) -> list[Index]:
    """The index of each shard: the one beside it, a cached one, or one from its headers."""
    filesystem, _ = opened(archives[0].address)
    paths = [opened(each.address.removesuffix(".tar") + INDEX)[1] for each in archives]
    with reaching(archives[0].address):  # at most this many bytes of each
        contents = filesystem.cat_ranges(paths, 0, ROOM.size, on_error="return")
    return [_index(*each) for each in zip(archives, contents, strict=True)]


def _index(shard: Shard, response: bytes | Exception) -> Index:
    cached = shard.cached.with_suffix(".json")
    content = response if isinstance(response, bytes) else b""
    for read in (lambda: parse_json(content, ROOM), lambda: cached_json(cached, ROOM)):
        with suppress(ValueError, TypeError):  # absent or damaged
            index = as_type(Index, read())
            if index.bytes == shard.info.size:
                return index
    index = _read_headers(shard)
    write_json(cached, {"bytes": index.bytes, "images": index.images}, sync=False)
    return index


def _read_headers(shard: Shard) -> Index:
    """Return the index of a shard from its headers."""
    filesystem, path = opened(shard.address)
    with reaching(shard.address):
        entries = tar_entries(shard.address, shards.has_label, partial(filesystem.open, path, "rb"))
        images = shards.images_of(shard.address, entries)
    return Index(shard.info.size, [(e.name, e.offset, e.size, label) for e, label in images])


def _samples(shard: Shard, index: Index) -> list[shards.Sample]:
    end = shard.info.size
    beyond = next((name for name, start, size, _ in index.images if start + size > end), None)
    if beyond is not None:
        raise ValueError(
            f"{shown_path(shard.address)} ends within {shown_path(beyond)}; write it again"
        )
    return [
        shards.Sample(shard.address, Entry(name, offset, size), label, shard.read)
        for name, offset, size, label in index.images
    ]


def _streaming(source: Source, samples: Sequence[shards.Sample], archives: list[Shard]) -> Source:
    """Add what reading from a store needs: sizes, threads, and an order by windows of shards."""
    files = source.files
    assert files is not None
    files = replace(files, bytes_of=lambda row: samples[row].entry.size)
    sizes = [each.info.size for each in archives]
    at_once = max(2, MIXED_BYTES * len(sizes) // max(1, sum(sizes)))
    number = {each.address: place for place, each in enumerate(archives)}
    windows = Windows(np.array([number[each.archive] for each in samples]), at_once)
    mixed = at_once >= len(archives)  # one window of all, in the order of data on the disk
    threads = max(THREADS, processors())
    return replace(source, images=files, threads=threads, windows=None if mixed else windows)


def _reader(folder: str) -> Inside:
    """Return a function that reads a file in a folder of a store by its name."""
    filesystem, path = opened(folder)

    def inside(name: str) -> bytes | None:
        with reaching(folder):
            try:
                content = filesystem.cat_file(f"{path}/{name}", start=0, end=MOST_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(content) > MOST_BYTES:
            raise ValueError(f"{shown_path(folder)}/{name} has over {MOST_BYTES} bytes; remove it")
        return content

    return inside
