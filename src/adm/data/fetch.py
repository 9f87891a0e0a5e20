"""HTTP(S) URL, hash -> Path of the file in a cache folder, downloaded once."""

import hashlib
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adm.extras import installing
from adm.shown import shown_path
from adm.store.files import new_file, user_cache
from adm.store.hashes import sha256_of
from adm.store.locks import locked

MAX_BYTES = 1 << 30  # of one file, several times those that are known
PIECE = 1 << 20  # bytes
TIMEOUT_SECONDS = 30.0  # without any byte
WAIT_SECONDS = 86_400.0  # for another process that downloads the same file
QUIET_SECONDS = 10.0  # between two lines of progress

log = logging.getLogger("adm")


def fetch(url: str, known: str, cache: Path | None = None) -> Path:
    """Download a file into a cache folder, unless it is there, and return its path.

    A file appears there whole or not at all. Of several processes, one downloads it and the others
    wait. Files of one folder of a server share a folder of the cache.

    Args:
        url: http or https.
        known: the hash that the file must have, `sha256:...` or `md5:...`.
        cache: the folder; the user's by default.

    Raises:
        ValueError: no response, a file over `MAX_BYTES`, or of another hash; pooch is not
            installed.
    """
    place, _, name = url.rpartition("/")
    folder = f"{urlsplit(url).hostname}-{sha256_of(place.encode())[:12]}"
    target = (cache or user_cache("data")) / folder / name
    if not target.is_file():
        try:
            with locked(target.parent, f".{name}.fetch", wait_s=WAIT_SECONDS, of=target):
                if not target.is_file():
                    _download(url, target, known)
        except OSError as error:  # as are the errors of requests
            raise ValueError(
                f"{shown_path(url)} did not arrive ({shown_path(error)}); run the command again"
            ) from None
    return target


class _Progress:
    """Logs how much has arrived, and stops what has no end; what pooch calls a progress bar."""

    def __init__(self, url: str) -> None:
        self.url, self.total, self.received = url, 0, 0
        self.said = time.monotonic()

    def update(self, size: int) -> None:
        self.received += size
        if max(self.received, self.total) > MAX_BYTES:
            raise ValueError(f"{shown_path(self.url)} is over {MAX_BYTES} bytes; see what is there")
        if time.monotonic() - self.said > QUIET_SECONDS:
            self.said = time.monotonic()
            total = f" of {self.total / 1e6:.0f}" if self.total else ""
            log.info("fetching %s: %.0f%s MB", shown_path(self.url), self.received / 1e6, total)

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        pass


def _download(url: str, target: Path, known: str) -> None:
    try:
        import pooch  # an extra
    except ImportError:
        raise ValueError(
            f"downloading {shown_path(url)} needs pooch, which is not installed; "
            f"{installing('download')}"
        ) from None
    bar: Any = _Progress(url)
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=PIECE, timeout=TIMEOUT_SECONDS)
    with new_file(target) as part:
        downloader(url, str(part), None)
        kind, _, digest = known.partition(":")
        with part.open("rb") as file:
            if hashlib.file_digest(file, kind).hexdigest() != digest:
                raise ValueError(
                    f"{shown_path(url)} is not kept (its hash is not {known}); run the command "
                    "again"
                )
