"""Address, hash, sizes -> path of the file in a cache folder, downloaded once."""

import hashlib
import logging
import time
from base64 import b64decode
from binascii import Error as NotBase64
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adm.shown import shown_path
from adm.store.files import of_system, user_cache, write_text
from adm.store.hashes import sha256, sha256_of
from adm.store.locks import locked

MOST_BYTES = 1 << 30  # of a file whose size is not known, several times those of data
PIECE = 1 << 20  # bytes
TIMEOUT_SECONDS = 30.0  # without any byte
WAIT_SECONDS = 86_400.0  # for another process that downloads the same file
QUIET_SECONDS = 10.0  # between two lines of progress
MOST_FRUITLESS = 3  # attempts in a row without a new byte
PINNED = ".sha256"  # suffix of the file with the hash of the download, as sha256sum writes it

log = logging.getLogger("adm")


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: http or https.
        known: the hash that it must have, `sha256:...` or `md5:...`; None if none is published.
        sizes: the least and the most bytes that it can have.
    """

    url: str
    known: str | None = None
    sizes: tuple[int, int] = (1, MOST_BYTES)

    def place(self, cache: Path) -> Path:
        """Return its path in a cache; files of one folder of a server share a folder."""
        folder, _, name = self.url.rpartition("/")
        return cache / f"{urlsplit(self.url).hostname}-{sha256_of(folder.encode())[:12]}" / name


def fetch(remote: Remote, cache: Path | None = None) -> Path:
    """Download a file into a cache folder, unless it is there, and return its path.

    A file appears there whole or not at all. A download that breaks off is continued by the next
    call. Of several processes, one downloads and the others wait. The file must have the sizes and
    the hash of `remote`, and the hash that its server states. Where no hash is published, that of
    the first download is stored beside the file, and later ones must have it.

    Args:
        cache: the folder; the user's by default.

    Raises:
        ValueError: the server does not answer, or sends another file.
    """
    target = remote.place(cache or user_cache("data"))
    if target.is_file():
        return target
    try:
        with locked(target.parent, f".{target.name}.fetch", wait_s=WAIT_SECONDS, of=target):
            if not target.is_file():
                part = target.with_name(f".{target.name}.part")
                stated = _receive(remote, part)
                try:
                    digest = _verified(remote, part, stated, _pinned(target))
                except ValueError:
                    part.unlink()
                    raise
                if remote.known is None:
                    write_text(_pin(target), f"{digest}  {target.name}\n")
                part.replace(target)
    except OSError as error:  # as are the errors of requests
        why = error.strerror if of_system(error) else str(error)
        if type(error).__name__ == "ConnectionError":  # of requests, with a page of causes
            why = f"{urlsplit(remote.url).hostname} cannot be reached"
        raise ValueError(
            f"{shown_path(remote.url)} did not arrive ({shown_path(why)}); run the command again "
            f"to go on, or put the file at {target}"
        ) from None
    return target


class _Progress:
    """A progress bar of pooch, which logs, and refuses more than `most` bytes."""

    def __init__(self, url: str, most: int, before: int) -> None:
        self.url, self.most, self.before = url, most, before
        self.total = self.received = 0
        self.began = self.logged = time.monotonic()

    def update(self, size: int) -> None:
        self.received += size
        if self.before + max(self.received, self.total) > self.most:
            raise ValueError(f"{shown_path(self.url)} is over {self.most} bytes; check the server")
        now = time.monotonic()
        if now - self.logged > QUIET_SECONDS:
            self.logged = now
            of, left = "", ""
            if self.total:
                rest = (self.total - self.received) / self.received * (now - self.began)
                of = f" of {(self.before + self.total) / 1e6:,.0f}"
                left = f", {rest // 60:.0f}:{rest % 60:02.0f} left"
            arrived = f"{(self.before + self.received) / 1e6:,.0f}{of} MB{left}"
            log.info("fetching %s: %s", shown_path(self.url), arrived)

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        pass


def _receive(remote: Remote, part: Path) -> str | None:
    """Append the missing bytes to `part`; return the MD5 hash that the server states, if any."""
    fruitless, size = 0, _size(part)
    while True:
        try:
            return _request(remote, part)
        except OSError:  # the connection broke
            fruitless = fruitless + 1 if _size(part) == size else 0
            size = _size(part)
            if fruitless == MOST_FRUITLESS or not size:
                if not size:
                    part.unlink(missing_ok=True)
                raise


def _request(remote: Remote, part: Path) -> str | None:
    import pooch  # with requests, which take a while to load

    size, stated = _size(part), list[str]()
    if size == remote.sizes[1]:
        return None
    with part.open("ab") as file:
        bar: Any = _Progress(remote.url, remote.sizes[1], size)

        def begin(response: Any, **_: Any) -> None:
            if response.status_code == 200:  # the whole file, from a server without ranges
                file.truncate(0)
                bar.before = 0
            with suppress(NotBase64):
                stated.append(b64decode(response.headers.get("Content-MD5", "")).hex())

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
        pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=PIECE,
            timeout=TIMEOUT_SECONDS,
            headers=headers,
            hooks={"response": begin},
        )(remote.url, file, None)
    # Of a range, a server may state the hash of the range.
    return (stated[-1] or None) if stated and not size else None


def _verified(remote: Remote, part: Path, stated: str | None, pinned: str | None) -> str:
    """Return the SHA-256 of the download; raise ValueError if it is not the expected file."""
    url, (low, high), size = shown_path(remote.url), remote.sizes, _size(part)
    if not low <= size <= high:
        expected = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(
            f"{url} is discarded: it has {size} bytes, not {expected}; run the command again"
        )
    digest = sha256(part)
    hashes = {f"sha256:{pinned}": "of an earlier download"} if pinned else {}
    hashes |= {remote.known: "published"} if remote.known else {}
    hashes |= {f"md5:{stated}": "that the server states"} if stated else {}
    for expected, origin in hashes.items():
        kind, _, hexadecimal = expected.partition(":")
        with part.open("rb") as file:
            actual = digest if kind == "sha256" else hashlib.file_digest(file, kind).hexdigest()
        if actual != hexadecimal:
            raise ValueError(
                f"{url} is discarded: its {kind} hash is {actual}, and the one {origin} is "
                f"{hexadecimal}; run the command again"
            )
    return digest


def _pin(target: Path) -> Path:
    return target.with_name(target.name + PINNED)


def _pinned(target: Path) -> str | None:
    """Return the hash of an earlier download, which outlives the file."""
    with suppress(OSError, UnicodeDecodeError):
        return _pin(target).read_text().partition(" ")[0] or None
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
