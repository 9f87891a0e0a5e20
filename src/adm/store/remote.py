"""Address of a store -> its filesystem; local folder <-> its files in the store: a mirror.

A store, such as a bucket of S3, has neither locks nor renames, and its files appear whole. The
SHA256SUMS of a folder is put there last. While such a folder is written or removed, it has `OPEN`
and no SHA256SUMS, and nobody reads it.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from adm.extras import installing
from adm.shown import count_of, reason_of, shown_path
from adm.spec import SettingError
from adm.store.files import NEW, OLD, empty, of_system, remove, user_cache, write_json
from adm.store.hashes import SUMS, inside, read_sums, sha256_of
from adm.store.locks import locked
from adm.store.parsed import Room, cached_json

STATE, LOCK = ".store.json", ".store.lock"  # beside the copy: its files in the store, and its lock
OPEN = ".open"
PARTS = "parts"
WORK = (PARTS, "work")  # hidden folders beside an --out, which a command resumes from
MANY_BYTES = 1 << 28  # that are worth a notice
WAIT_S = 86_400.0  # for another process that moves files of the same place
# Keys that distinguish the contents of a name, in several kinds of stores.
VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
STATE_ROOM = Room(1 << 28, commas=1 << 24, quotes=1 << 24, colons=1 << 23, brackets=1 << 23)
log = logging.getLogger("adm")
LOGIN = re.compile("credential|auth|token|login", re.IGNORECASE)
NETWORK = re.compile("connect|endpoint|timeout|resolve|dns", re.IGNORECASE)


def opened(address: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of an address, and the path in it, without a / at its end.

    Raises:
        ValueError: fsspec or the package of the store is not installed, or its kind is unknown.
    """
    kind = address.partition("://")[0]
    try:
        import fsspec  # an extra

        filesystem, path = fsspec.url_to_fs(address)
    except ImportError as error:
        package = re.search(r"[Ii]nstall (\w+)", str(error))
        cure = f"pip install {package[1]}" if package and kind != "s3" else installing("stores")
        raise ValueError(
            f"{shown_path(address)} needs a package that is not installed; {cure}"
        ) from None
    except ValueError:
        raise ValueError(
            f"{shown_path(address)}: fsspec knows no store {kind}://; give one such as s3:// or "
            "gs://, or the path of a folder"
        ) from None
    return filesystem, str(path).rstrip("/")


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Raise errors of a store in the block as a ValueError with the cure."""
    try:
        yield
    except Exception as error:  # every package of a store has its own types
        if isinstance(error, ValueError) or (isinstance(error, OSError) and of_system(error)):
            raise
        where, kind = shown_path(address), type(error).__name__
        if isinstance(error, PermissionError):
            cure = (
                f"permission denied ({shown_path(reason_of(error))}); use credentials that may "
                "list, read, write and remove there"
            )
        elif isinstance(error, FileNotFoundError):
            cure = "there is no such bucket or folder; create it, or correct the address"
        elif LOGIN.search(kind):
            cure = (
                "no credentials; log in with the store's own tool, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        elif NETWORK.search(kind) or isinstance(error, ConnectionError | TimeoutError):
            cure = "cannot be reached; check the network and, for S3, AWS_ENDPOINT_URL"
        else:
            cure = f"{shown_path(reason_of(error) or kind)}; resolve that error, then try again"
        raise ValueError(f"{where}: {cure}") from None


def check_machines(path: Path, several: bool) -> None:
    """Raise SettingError if ranks on several machines are to write into copies of one place."""
    if several and (mirror := Mirror.of(path)):
        raise SettingError(
            "out",
            "on a disk that all machines see, as they were launched together",
            mirror.address,
            "or start each alone, as with {shard=1/2}, or all processes on one machine",
        )


class FileInfo(NamedTuple):
    """A file in a store."""

    size: int  # bytes
    version: str  # differs between contents


@dataclass(frozen=True)
class Mirror:
    """The copy of a place in a store, and of the work folders beside it.

    Files are named by their paths from the parent of the place, as in `64/run.json` of
    s3://runs/64.

    Attributes:
        address: of the place.
        root: the local folder that contains the copy.
    """

    address: str
    root: Path

    @classmethod
    def at(cls, address: str) -> "Mirror":
        """Return the mirror of an address, in the user's cache.

        Raises:
            ValueError: the address has no parent, or cannot be opened.
        """
        address = address.rstrip("/")
        place = opened(address)[1].strip("/")
        if not place.count("/"):
            raise ValueError(
                f"{shown_path(address)} is a whole bucket; give a place in it, such as "
                f"{shown_path(address)}/out"
            )
        if not inside(place):
            raise ValueError(f"{shown_path(address)} has .. in it; write the address without")
        root = user_cache("stores") / sha256_of(address.encode())[:16]
        with locked(root, LOCK, wait_s=WAIT_S, of=root / address.rpartition("/")[2]):
            if cached_json(root / STATE, STATE_ROOM) is None:
                empty(root)
                write_json(root / STATE, {"address": address, "files": {}})
        return cls(address, root)

    @classmethod
    def of(cls, path: Path) -> "Mirror | None":
        """Return the mirror that a file or a folder belongs to; None without one."""
        for root in path.parents[:3]:
            if (root / STATE).is_file() and (state := cached_json(root / STATE, STATE_ROOM)):
                mirror = cls(str(state["address"]), root)
                return mirror if mirror._visible(f"{mirror._name_of(path)}/file") else None
        return None

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    @property
    def local(self) -> Path:
        """The copy."""
        return self.root / self.name

    @cached_property
    def _store(self) -> tuple[Any, str]:
        filesystem, place = opened(self.address)
        return filesystem, place.rpartition("/")[0]

    def stored(self) -> dict[str, FileInfo]:
        """Return the files in the store by name, without folders that are being written."""
        files = self._listed()
        half = {_folder(name) for name in files if name.endswith(f"/{OPEN}")}
        half -= {_folder(name) for name in files if name.endswith(f"/{SUMS}")}
        hidden = {name for name in files if name.endswith(f"/{OPEN}")}
        hidden = hidden.union(*(_below(files, folder) for folder in half))
        return {name: info for name, info in files.items() if name not in hidden}

    def pull(self, select: Callable[[Collection[str]], Iterable[str]] = sorted) -> None:
        """Fetch the selected files, and remove local ones that are no longer in the store.

        Files that changed there since they were fetched or put replace the local ones.

        Args:
            select: all names in the store -> those to fetch; all by default.

        Raises:
            ValueError: the store refuses.
            OSError: the disk is full.
        """
        with self._moving() as state:
            stored = self.stored()
            for name in state.keys() - stored.keys():
                remove(self.root / name)
                del state[name]
            new = [
                name
                for name in select(stored)
                if not (self.root / name).is_file()
                or state.get(name, [None])[-1] != stored[name].version
            ]
            self._get(new, stored)
            state.update({name: [*self._stat(name), stored[name].version] for name in new})

    def fetch(self, *files: str) -> None:
        """Fetch these files of the copy, by their names in it, if they are in the store."""
        requested = {f"{self.name}/{file}" for file in files}
        self.pull(lambda names: requested & {*names})

    def begin(self) -> None:
        """Count files missing from the copy as not fetched, not as removed, in a later `push`."""
        with self._moving() as state:
            for name in [name for name in state if not (self.root / name).is_file()]:
                del state[name]

    def push(self, sole: bool = False) -> None:
        """Put the files that are new or changed in the copy, and remove those removed from it.

        A reader of the store finds the old SHA256SUMS of a folder with the old files, the new one
        with the new files, or none. The same files again change nothing.

        Args:
            sole: whether no other process writes there, so that unfinished folders of a
                killed one are removed.

        Raises:
            ValueError: the store refuses.
        """
        with self._moving() as state:
            stored, local = self._listed(), self._local_files()
            changed = {
                name
                for name, stat in local.items()
                if name not in stored or state.get(name) != [*stat, stored[name].version]
            }
            gone = {name for name in state if name in stored and name not in local}
            rewritten, removed = set[str](), set[str]()
            for mark in {name for name in {*local, *state} if name.endswith(f"/{SUMS}")}:
                folder = _folder(mark)
                if mark not in local:
                    removed.add(folder)
                elif mark in stored and self._same(mark):
                    changed -= _below(changed, folder)
                else:
                    rewritten.add(folder)
                    listed = {f"{folder}/{name}" for name in read_sums(self.root / folder) or {}}
                    gone |= _below(stored, folder) - {*local} - listed
            half = {_folder(name) for name in stored if name.endswith(f"/{OPEN}")}
            ended = {folder for folder in half if f"{folder}/{SUMS}" in stored}
            if sole:
                removed |= {folder for folder in half - ended if f"{folder}/{SUMS}" not in local}
            removed = {folder for folder in removed if _below(stored, folder)}
            gone = gone.union(*(_below(stored, folder) for folder in removed))
            work = f".{self.name}.{PARTS}"
            if f"{self.name}/{SUMS}" in local and not (self.root / work).exists():
                gone |= _below(stored, work)  # also parts of other processes

            marks = {name for name in changed if name.endswith(f"/{SUMS}")}
            stale = {name for folder in rewritten for name in _below(gone, folder)}
            self._open(rewritten, stored)
            self._put(changed - marks)
            self._remove(stale)
            self._put(marks)
            self._open(removed, stored)  # after the new ones are whole
            self._remove(gone - stale)
            self._remove(f"{folder}/{OPEN}" for folder in {*ended, *rewritten, *removed})
            now = self._listed() if changed or gone else stored
            state.clear()
            state.update({n: [*stat, now[n].version] for n, stat in local.items() if n in now})

    def put(self, path: Path) -> None:
        """Put one file of the copy."""
        name = self._name_of(path)
        with self._moving() as state:
            self._put([name])
            with reaching(self.address):
                now = file_info(self._store[0].info(self._place(name)))
            state[name] = [*self._stat(name), now.version]

    def names(self, folder: Path) -> list[str]:
        """Return the names of the files in the store that belong in a folder of the copy."""
        below = self._name_of(folder)
        return [name[len(below) + 1 :] for name in self.stored() if _folder(name) == below]

    def move(self, path: Path) -> None:
        """Put one file into the store, and remove it from the copy; `push` leaves it there."""
        self.put(path)
        with self._moving() as state:
            del state[self._name_of(path)]
            path.unlink()

    def discard(self, paths: Iterable[Path]) -> None:
        """Remove files of the copy from the store, whether or not the copy has them."""
        with self._moving() as state:
            for name in map(self._name_of, paths):
                self._remove([name])
                state.pop(name, None)

    def probe(self) -> None:
        """Write and remove a file beside the place, as a command would do hours later.

        Raises:
            ValueError: the store refuses; says why.
        """
        name = f".{self.name}.probe"
        with reaching(self.address):
            self._store[0].pipe_file(self._place(name), b"adm")
        self._remove([name])

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _place(self, name: str) -> str:
        return f"{self._store[1]}/{name}"

    def _listed(self) -> dict[str, FileInfo]:
        filesystem, parent = self._store
        folders = (self.name, *(f".{self.name}.{kind}" for kind in WORK))
        listed = dict[str, FileInfo]()
        with reaching(self.address):
            filesystem.invalidate_cache()
            for folder in folders:
                try:
                    files = filesystem.find(f"{parent}/{folder}", detail=True)
                except FileNotFoundError:
                    continue
                listed |= {path[len(parent) + 1 :]: file_info(info) for path, info in files.items()}
        marks = {name for name in listed if name.endswith(f"/{OPEN}") and inside(name)}
        return {n: info for n, info in listed.items() if n in marks or self._visible(n)}

    def _local_files(self) -> dict[str, list[int]]:
        """The regular files of the copy by name, with their `_stat`."""
        names = (
            self._name_of(Path(place) / name)
            for place, _, files in os.walk(self.root)
            for name in files
            if not (Path(place) / name).is_symlink()
        )
        return {name: self._stat(name) for name in names if self._visible(name)}

    def _visible(self, name: str) -> bool:
        """Whether a file belongs to the place, and is neither a lock nor being written."""
        top, *rest = name.split("/")
        ours = not top.startswith(".") or top == self.name
        work = top in [f".{self.name}.{kind}" for kind in WORK] and rest[:1] not in ([NEW], [OLD])
        hidden = any(each.startswith(".") for each in rest)
        return (ours or work) and not hidden and not name.endswith((".lock", "/")) and inside(name)

    def _stat(self, name: str) -> list[int]:
        stat = (self.root / name).stat()
        return [stat.st_size, stat.st_mtime_ns]

    @contextmanager
    def _moving(self) -> Iterator[dict[str, list[Any]]]:
        """Lock the copy; yield, and then save, the state of its files that equal the store's."""
        with locked(self.root, LOCK, wait_s=WAIT_S, of=self.local):
            state = (cached_json(self.root / STATE, STATE_ROOM) or {}).get("files", {})
            yield state
            write_json(self.root / STATE, {"address": self.address, "files": state}, sync=False)

    def _get(self, names: Iterable[str], stored: dict[str, FileInfo]) -> None:
        names = sorted(names)
        if sum(stored[name].size for name in names) > shutil.disk_usage(self.root).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.local))
        parts = list[Path]()
        for name in names:
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.parent.resolve().is_relative_to(self.root.resolve()):
                raise ValueError(f"{target} is beyond a link; remove {self.root}")
            parts.append(target.with_name(f".{target.name}.part"))
        if not names:
            return
        _log_transfer("fetching", [stored[name].size for name in names], self.address)
        with reaching(self.address):
            self._store[0].get(list(map(self._place, names)), list(map(str, parts)))
        for name, part in zip(names, parts, strict=True):
            if part.stat().st_size != stored[name].size:
                raise ValueError(
                    f"{self.address} changed while it was read; run the same command again"
                )
            part.replace(self.root / name)

    def _same(self, name: str) -> bool:
        """Whether a file in the store equals the local one."""
        content = (self.root / name).read_bytes()
        with reaching(self.address):
            end = len(content) + 1
            return self._store[0].cat_file(self._place(name), start=0, end=end) == content

    def _put(self, names: Iterable[str]) -> None:
        if names := sorted(names):
            _log_transfer("putting", [self._stat(name)[0] for name in names], self.address)
            with reaching(self.address):
                self._store[0].put(
                    [str(self.root / name) for name in names], list(map(self._place, names))
                )

    def _open(self, folders: Iterable[str], stored: Iterable[str]) -> None:
        """Mark folders as being written or removed, so that nobody reads them."""
        for folder in folders:
            with reaching(self.address):
                self._store[0].pipe_file(self._place(f"{folder}/{OPEN}"), b"")
            if f"{folder}/{SUMS}" in stored:
                self._remove([f"{folder}/{SUMS}"])

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            with reaching(self.address):
                try:
                    self._store[0].rm_file(self._place(name))
                except FileNotFoundError:  # another process has removed it
                    continue


def file_info(info: dict[str, Any]) -> FileInfo:
    """Return the size and the version of a file from its fsspec info."""
    version = next((str(info[key]) for key in VERSIONS if info.get(key) is not None), "")
    return FileInfo(int(info.get("size") or 0), version)


def _log_transfer(action: str, sizes: Sequence[int], address: str) -> None:
    if sum(sizes) > MANY_BYTES:
        files = count_of(len(sizes), "file")
        log.info("%s %s, %s: %.0f MB", action, shown_path(address), files, sum(sizes) / 1e6)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _below(names: Iterable[str], folder: str) -> set[str]:
    return {name for name in names if name.startswith(f"{folder}/")}
