"""HTTP(S) URL -> Path of the file in a cache folder, downloaded once."""

import glob
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from adm.files import new_file
from adm.hashes import sha256_of
from adm.notices import notice

SCHEMES = ("http", "https")
MAX_BYTES = 1 << 36  # of one file; a larger one is more likely a wrong address than a shard
PIECE = 1 << 20
STALE_SECONDS = 60.0  # without a new byte, after which the fetching process counts as dead
TIMEOUT_SECONDS = 30.0
ABSENT = (403, 404, 410)  # HTTP statuses of a file that does not exist
QUIET_SECONDS = 10.0  # between two lines of progress


def cache_folder() -> Path:
    """The default cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adm" / "shards"


def fetched(url: str, cache: Path | None = None, optional: bool = False) -> Path | None:
    """The cached file of a URL, downloaded on first use.

    A file appears there whole or not at all. Of several processes, one downloads it and the others
    wait.

    Args:
        url: http or https.
        cache: the folder; `cache_folder()` by default.
        optional: return None if the server has no such file.

    Raises:
        ValueError: another scheme, no response, or a file that is truncated or over `MAX_BYTES`.
    """
    target = _place(url, cache or cache_folder())
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    while not target.is_file():
        try:
            lock.touch(exist_ok=False)
        except FileExistsError:
            _wait(lock)
            continue
        try:
            for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
                left.unlink(missing_ok=True)
            with new_file(target) as part, part.open("wb") as file:
                _fetch(url, file, partial(_refresh, lock))
        except (OSError, HTTPException) as error:  # URLError is an OSError
            if target.is_file():  # another process fetched it, for which this one counted as dead
                break
            if optional and isinstance(error, HTTPError) and error.code in ABSENT:
                return None
            raise ValueError(f"{url} did not arrive ({error}); run the command again") from None
        finally:
            lock.unlink(missing_ok=True)
    return target


def _place(url: str, cache: Path) -> Path:
    """The cached path: files of one folder of a server share a folder of the cache."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"{url} is no http or https address; give one, or a path")
    place, _, last = parts.path.rpartition("/")
    key = sha256_of(f"{parts.scheme}://{parts.netloc}{place}?{parts.query}".encode())
    name = unquote(last).replace("/", "-").lstrip(".") or "data"
    return cache / f"{parts.hostname}-{key[:12]}" / name


def _wait(lock: Path) -> None:
    """Sleep while another process fetches; remove its lock once nothing more arrives."""
    time.sleep(0.2)
    with suppress(FileNotFoundError):
        if time.time() - lock.stat().st_mtime > STALE_SECONDS:
            lock.unlink()


def _refresh(lock: Path) -> None:
    """Touch the lock, so that waiting processes see that this one is alive."""
    with suppress(FileNotFoundError):  # one of them has removed it
        os.utime(lock)


def _fetch(url: str, file: BinaryIO, alive: Callable[[], None]) -> None:
    with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # `_place` has checked the scheme
        length = answer.headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        if (expected or 0) > MAX_BYTES:
            raise ValueError(f"{url} has {expected} bytes, over {MAX_BYTES}; give smaller shards")
        done, said = 0, time.monotonic()
        while piece := answer.read(PIECE):
            done += len(piece)
            if done > (MAX_BYTES if expected is None else expected):
                raise ValueError(f"{url} sends more than it announced; see what is there")
            file.write(piece)
            alive()
            if time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                _say(url, done, expected)
        if expected is not None and done != expected:
            raise ValueError(f"{url} was cut short: {done} of {expected} bytes; run it again")
        _say(url, done, expected)


def _say(url: str, done: int, expected: int | None) -> None:
    total = "" if expected is None else f" of {expected / 1e6:.0f}"
    notice(f"fetching {url}: {done / 1e6:.0f}{total} MB")
