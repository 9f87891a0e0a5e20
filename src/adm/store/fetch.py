"""Address, hash, size -> path of the file in a cache folder, downloaded once, by pooch."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adm.shown import shown_path
from adm.store.files import new_file, of_system, user_cache
from adm.store.hashes import sha256_of
from adm.store.locks import locked

MOST_BYTES = 1 << 30  # of a file whose size is not known, several times those of data
PIECE = 1 << 20  # bytes
TIMEOUT_SECONDS = 30.0  # without any byte
WAIT_SECONDS = 86_400.0  # for another process that downloads the same file
QUIET_SECONDS = 10.0  # between two lines of progress

log = logging.getLogger("adm")


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: http or https.
        known: the hash that it must have, `sha256:...` or `md5:...`; None if none is published.
        most: the most bytes that it can have.
    """

    url: str
    known: str | None = None
    most: int = MOST_BYTES

    def place(self, cache: Path) -> Path:
        """Return its path in a cache; files of one folder of a server share a folder."""
        folder, _, name = self.url.rpartition("/")
        return cache / f"{urlsplit(self.url).hostname}-{sha256_of(folder.encode())[:12]}" / name


def fetch(remote: Remote, cache: Path | None = None) -> Path:
    """Download a file into a cache folder, unless it is there, and return its path.

    A file appears there whole, with its published hash, or not at all. Of several processes, one
    downloads and the others wait.

    Args:
        cache: the folder; the user's by default.

    Raises:
        ValueError: the server does not answer, or sends another file.
    """
    target = remote.place(cache or user_cache("data"))
    if target.is_file():
        return target
    with locked(target.parent, f".{target.name}.fetch", wait_s=WAIT_SECONDS, of=target):
        if not target.is_file():
            try:
                with new_file(target) as part:
                    _download(remote, part)
            except (OSError, ValueError) as error:  # also those of requests
                why = error.strerror if isinstance(error, OSError) and of_system(error) else error
                if type(error).__name__ == "ConnectionError":  # of requests, with a page of causes
                    why = f"{urlsplit(remote.url).hostname} cannot be reached"
                raise ValueError(
                    f"{shown_path(remote.url)} did not arrive ({shown_path(why)}); run the command "
                    f"again, or put the file at {target}"
                ) from None
    return target


def _download(remote: Remote, part: Path) -> None:
    import pooch  # with requests, which take a while to load

    bar: Any = _Progress(remote)  # pooch declares a bool, and documents any object
    download = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=PIECE,
        timeout=TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},
    )
    download(remote.url, str(part), None)
    if remote.known is not None:
        kind, _, known = remote.known.partition(":")
        if (actual := pooch.file_hash(str(part), kind)) != known:
            raise ValueError(f"its {kind} hash is {actual}, and the published one is {known}")


class _Progress:
    """A progress bar of pooch, which logs, and refuses more bytes than a file can have."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.total = self.received = 0
        self.began = self.logged = time.monotonic()

    def update(self, size: int) -> None:
        self.received += size
        if max(self.received - PIECE, self.total) > self.remote.most:  # the last piece is shorter
            raise ValueError(f"it is over {self.remote.most} bytes")
        now = time.monotonic()
        if now - self.logged > QUIET_SECONDS:
            self.logged = now
            of, left = "", ""
            if self.total:
                of = f" of {self.total / 1e6:,.0f}"
                rest = max(self.total / self.received - 1, 0) * (now - self.began)
                left = f", {rest // 60:.0f}:{rest % 60:02.0f} left"
            url = shown_path(self.remote.url)
            log.info("fetching %s: %s", url, f"{self.received / 1e6:,.0f}{of} MB{left}")

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        pass
