"""HTTP(S) URL -> Path of the file in a cache folder, downloaded once."""

import hashlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from adm.extras import installing
from adm.shown import printable, shown_path
from adm.store.files import new_file, user_cache
from adm.store.hashes import sha256_of
from adm.store.locks import locked

SCHEMES = ("http", "https")
ABSENT = (403, 404, 410)  # HTTP statuses of a file that does not exist
LONGEST_URL = 8_192  # characters
LONGEST_NAME = 200  # bytes of the name of a file, to stay within file system limits
MAX_BYTES = 1 << 36  # of one file; a larger one is more likely a wrong address than a shard
PIECE = 1 << 20  # bytes
TIMEOUT_SECONDS = 30.0  # without any byte
WAIT_SECONDS = 86_400.0  # for another process that downloads the same file
QUIET_SECONDS = 10.0  # between two lines of progress
HASH = re.compile(r"(sha256=[0-9a-fA-F]{64}|md5=[0-9a-fA-F]{32})?")

log = logging.getLogger("adm")


def cache_folder() -> Path:
    """The default cache folder."""
    return user_cache("shards")


def fetch(
    url: str,
    cache: Path | None = None,
    *,
    optional: bool = False,
    check: Callable[[Path], object] = lambda path: None,
) -> Path | None:
    """Download a file into a cache folder, unless it is there, and return its path.

    A file appears there whole or not at all. Of several processes, one downloads it and the others
    wait. Files of one folder of a server share a folder of the cache.

    Args:
        url: http or https; a fragment `#sha256=...` or `#md5=...` is the hash that the file must
            have.
        cache: the folder; `cache_folder()` by default.
        optional: return None if the server has no such file.
        check: path -> anything; raises ValueError for a file that is not kept.

    Raises:
        ValueError: another scheme, no response, a file over `MAX_BYTES`, of another hash, or that
            `check` refuses; pooch is not installed.
    """
    address, expected = _address(url)
    target = _place(address, cache or cache_folder())
    if not target.is_file():
        try:
            with locked(target.parent, f".{target.name}.fetch", wait_s=WAIT_SECONDS, of=target):
                if not target.is_file():
                    _download(address, target, expected, check)
        except OSError as error:  # as are the errors of requests
            status = getattr(getattr(error, "response", None), "status_code", None)
            if optional and status in ABSENT:
                return None
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


def _download(
    url: str, target: Path, expected: str | None, check: Callable[[Path], object]
) -> None:
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
        try:
            _check_hash(part, expected)
            check(part)
        except ValueError as error:
            raise ValueError(
                f"{shown_path(url)} is not kept ({error}); check the address, or run the command "
                "again"
            ) from None


def _check_hash(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    name, _, digest = expected.partition("=")
    with path.open("rb") as file:
        if hashlib.file_digest(file, name).hexdigest() != digest:
            raise ValueError(f"its hash is not {expected}")


def _address(url: str) -> tuple[str, str | None]:
    """The URL without its fragment, and the hash in it."""
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= LONGEST_URL
    parts = urlsplit(url if plain else "")
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(
            f"{shown_path(url)} is no http or https address of up to {LONGEST_URL} characters; "
            "give one, with %XX for special characters, or a path"
        )
    if not HASH.fullmatch(parts.fragment):
        raise ValueError(
            f"{shown_path(url)} ends with #{shown_path(parts.fragment)}, expected #sha256= and 64 "
            "hexadecimal digits; correct or remove it"
        )
    hashed = parts.fragment.lower() or None
    return parts._replace(fragment="").geturl(), hashed


def _place(url: str, cache: Path) -> Path:
    """The path of a URL in the cache."""
    parts = urlsplit(url)
    place, _, last = parts.path.rpartition("/")
    key = sha256_of(f"{parts.scheme}://{parts.netloc}{place}?{parts.query}".encode())
    name, host = unquote(last).replace("/", "-").lstrip(".") or "data", str(parts.hostname)
    if printable(name) != name or max(len(name.encode()), len(host)) > LONGEST_NAME:
        raise ValueError(
            f"{shown_path(url)} has a file name that is too long or has control characters; "
            "download it and give its path"
        )
    return cache / f"{host}-{key[:12]}" / name
