"""HTTP(S) URL -> Path of the file in a cache folder, downloaded once."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from adm.app.notices import notice
from adm.data.download import SCHEMES, download
from adm.shown import printable, shown_path
from adm.store.files import new_file, user_cache
from adm.store.hashes import sha256, sha256_of
from adm.store.locks import InUse, locked

ABSENT = (403, 404, 410)  # HTTP statuses of a file that does not exist
LONGEST_URL = 8_192  # characters
LONGEST_NAME = 200  # bytes of the name of a file, to stay within file system limits
POLL_SECONDS = 0.2
QUIET_SECONDS = 10.0  # between two lines of a process that waits
SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")


class Address(NamedTuple):
    """A file on a server.

    Attributes:
        url: its address, without fragment.
        sha256: the hash that it must have; None if that is not known.
        target: its path in the cache.
    """

    url: str
    sha256: str | None
    target: Path


def cache_folder() -> Path:
    """The default cache folder."""
    return user_cache("shards")


def fetched(
    url: str,
    cache: Path | None = None,
    optional: bool = False,
    check: Callable[[Path], None] = lambda path: None,
) -> Path | None:
    """The cached file of a URL, downloaded on first use.

    A file appears there whole or not at all. Of several processes, one downloads it and the others
    wait; if that one is killed, another takes over.

    Args:
        url: http or https; a fragment `#sha256=...` is the hash that the file must have.
        cache: the folder; `cache_folder()` by default.
        optional: return None if the server has no such file.
        check: path -> None; raises ValueError for a file that is not kept.

    Raises:
        ValueError: another scheme, no response, a file that `download.download` or `check` refuses,
            or one of another hash.
    """
    address = _address(url, cache or cache_folder())
    try:
        if not address.target.is_file():
            with _alone(address):
                _fetch(address, check)
        _check_hash(address, address.target)
    except (OSError, HTTPException) as error:  # URLError is an OSError
        if optional and isinstance(error, HTTPError) and error.code in ABSENT:
            return None
        raise ValueError(
            f"{shown_path(url)} did not arrive ({shown_path(error)}); run the command again"
        ) from None
    return address.target


def _fetch(address: Address, check: Callable[[Path], None]) -> None:
    """Download a file, unless another process has done so in the meantime."""
    if address.target.is_file():
        return
    with new_file(address.target) as part:
        with part.open("wb") as file:
            download(address.url, file)
        _check_hash(address, part)
        try:
            check(part)
        except ValueError as error:
            raise ValueError(
                f"{shown_path(address.url)} is not kept ({error}); check the address, or run the "
                "command again"
            ) from None


def _address(url: str, cache: Path) -> Address:
    """Files of one folder of a server share a folder of the cache."""
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= LONGEST_URL
    parts = urlsplit(url if plain else "")
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(
            f"{shown_path(url)} is no http or https address of up to {LONGEST_URL} characters; "
            "give one, with %XX for special characters, or a path"
        )
    match = SHA256.fullmatch(parts.fragment)
    if parts.fragment and match is None:
        raise ValueError(
            f"{shown_path(url)} ends with #{shown_path(parts.fragment)}, expected #sha256= and 64 "
            "hexadecimal digits; correct or remove it"
        )
    place, _, last = parts.path.rpartition("/")
    key = sha256_of(f"{parts.scheme}://{parts.netloc}{place}?{parts.query}".encode())
    name = unquote(last).replace("/", "-").lstrip(".") or "data"
    if printable(name) != name or max(len(name.encode()), len(parts.hostname)) > LONGEST_NAME:
        raise ValueError(
            f"{shown_path(url)} has a file name that is too long or has control characters; "
            "download it and give its path"
        )
    target = cache / f"{parts.hostname}-{key[:12]}" / name
    return Address(parts._replace(fragment="").geturl(), match and match[1].lower(), target)


def _check_hash(address: Address, path: Path) -> None:
    if address.sha256 is not None and (found := sha256(path)) != address.sha256:
        raise ValueError(
            f"{shown_path(address.url)} has the SHA-256 {found}, expected {address.sha256}; "
            f"correct the address, or remove {shown_path(address.target)} if it exists, and run "
            "the command again"
        )


@contextmanager
def _alone(address: Address) -> Iterator[None]:
    """Wait until no other process fetches the file, and hold its lock."""
    target, said = address.target, time.monotonic()
    while True:
        try:
            with locked(target.parent, f".{target.name}.lock"):
                yield
                return
        except InUse as error:
            if time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                reason = str(error).partition(";")[0]
                notice(f"waiting for another process to fetch {shown_path(address.url)} ({reason})")
            time.sleep(POLL_SECONDS)
