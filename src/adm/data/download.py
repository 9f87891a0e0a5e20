"""HTTP(S) URL, stream -> None: the body is written to the stream, whole, or ValueError."""

import base64
import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from socket import SHUT_RDWR, socket
from threading import Event, Thread
from typing import IO, Any, BinaryIO
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from adm.app.notices import notice
from adm.shown import shown, shown_path

SCHEMES = ("http", "https")
MAX_BYTES = 1 << 36  # of one file; a larger one is more likely a wrong address than a shard
PIECE = 1 << 20
TIMEOUT_SECONDS = 30.0  # without any byte
WINDOW_SECONDS = 60.0  # in which a server must send SLOWEST bytes per second
SLOWEST = 1_000.0
QUIET_SECONDS = 10.0  # between two lines of progress
LENGTH = re.compile(r"[0-9]{1,20}")


def download(url: str, file: BinaryIO) -> None:
    """Write the body of a response to a file.

    Up to ten redirects are followed, to http and https only, and to no private address, unless its
    host is that of `url`. Behind a proxy, the proxy decides on addresses.

    Raises:
        ValueError: the body is empty, over `MAX_BYTES`, not of the length or the MD5 that the
            server stated, compressed, slower than `SLOWEST`; or a redirect that is not followed.
        OSError: the connection failed, or the server answered with an error (HTTPError).
        HTTPException: the response is malformed.
    """
    with _Pace() as pace:
        try:
            with _opener(url, pace).open(url, timeout=TIMEOUT_SECONDS) as answer:
                _copy(url, answer, file, pace)
        finally:
            if pace.slow:  # whatever the broken connection led to
                raise ValueError(
                    f"{shown_path(url)} sent less than {SLOWEST:.0f} bytes per second for "
                    f"{WINDOW_SECONDS:.0f} s; run the command again, or download it and give its "
                    "path"
                )


class _Pace(Thread):
    """Closes the connection of a download that is too slow.

    A timeout of the socket alone would be satisfied by a byte now and then, also within a header.

    Attributes:
        received: bytes of the body so far.
        socket: of the current connection.
        slow: whether the connection was closed.
    """

    def __init__(self) -> None:
        super().__init__(name="pace", daemon=True)
        self.received = 0
        self.socket: socket | None = None
        self.slow = False
        self._ended = Event()

    def __enter__(self) -> "_Pace":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def run(self) -> None:
        before = 0
        while not self._ended.wait(WINDOW_SECONDS):
            if self.socket is not None and self.received - before < SLOWEST * WINDOW_SECONDS:
                self.slow = True
                with suppress(OSError):  # of the plain socket, because TLS would wait for an answer
                    socket.shutdown(self.socket, SHUT_RDWR)
                return
            before = self.received


class _Http(HTTPConnection):
    """A connection that is checked before a request is sent."""

    connected: Callable[[socket], None]

    def connect(self) -> None:
        super().connect()
        self.connected(self.sock)


class _Https(HTTPSConnection):
    """As `_Http`, with TLS."""

    connected: Callable[[socket], None]

    def connect(self) -> None:
        super().connect()
        self.connected(self.sock)


class _Handler(HTTPSHandler, HTTPHandler):
    """Connects, and checks the address that it has connected to, rather than what a name says."""

    def __init__(self, url: str, pace: _Pace) -> None:
        super().__init__()
        self._host, self._pace = urlsplit(url).hostname, pace

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, _Http, req), req)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._connection, _Https, req), req)

    def _connection(
        self, kind: type[_Http | _Https], req: Request, host: str, **how: Any
    ) -> _Http | _Https:
        place = urlsplit(req.full_url)
        redirected = place.hostname != self._host
        proxied = place.netloc != host

        def connected(to: socket) -> None:
            self._pace.socket = to
            if redirected and not proxied:
                try:
                    _check_public(to.getpeername()[0], req.full_url)
                except ValueError:
                    to.close()
                    raise

        connection = kind(host, **how)
        connection.connected = connected
        return connection


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        to = urljoin(req.full_url, headers.get("Location", ""))
        if urlsplit(to).scheme not in SCHEMES:
            raise ValueError(
                f"{shown_path(req.full_url)} redirects to {shown_path(to)}, which is no http or "
                "https address; give the address of the file itself"
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(url: str, pace: _Pace) -> OpenerDirector:
    """Unlike that of `urlopen`, it opens neither files nor FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        _Redirects(),
        _Handler(url, pace),
    ):
        opener.add_handler(handler)
    return opener


def _check_public(address: str, url: str) -> None:
    found = ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if not found.is_global or found.is_multicast:
        raise ValueError(
            f"a redirect leads to {shown_path(url)} at the private address {found}, which is not "
            "followed; give that address itself if it is meant"
        )


def _copy(url: str, answer: HTTPResponse, file: BinaryIO, pace: _Pace) -> None:
    expected = _length(url, answer)
    digest, said = hashlib.md5(usedforsecurity=False), time.monotonic()
    # `read1` returns what has arrived, so that progress is seen; `read` would wait for a piece.
    while piece := answer.read1(PIECE):
        pace.received += len(piece)
        if pace.received > (MAX_BYTES if expected is None else expected):
            raise ValueError(f"{shown_path(url)} sends more than it announced; see what is there")
        file.write(piece)
        digest.update(piece)
        if time.monotonic() - said > QUIET_SECONDS:
            said = time.monotonic()
            _say(url, pace.received, expected)
    if expected is not None and pace.received != expected:
        raise ValueError(
            f"{shown_path(url)} was cut short: {pace.received} of {expected} bytes; run it again"
        )
    if not pace.received:
        raise ValueError(f"{shown_path(url)} is empty; check the address")
    stated = _md5(answer.headers)
    if stated is not None and stated != digest.digest():
        raise ValueError(f"{shown_path(url)} has another MD5 than its server states; run it again")
    _say(url, pace.received, expected)


def _length(url: str, answer: HTTPResponse) -> int | None:
    """The length of the body in bytes; None if the server does not state it."""
    coding = answer.headers.get("Content-Encoding", "identity").lower()
    if answer.status != 200 or coding != "identity":
        raise ValueError(
            f"{shown_path(url)} is answered with status {answer.status} and encoding "
            f"{shown(coding)}, expected 200 without encoding; give the address of the file itself"
        )
    stated = set(answer.headers.get_all("Content-Length", []))
    if not stated or answer.chunked:
        return None
    if len(stated) > 1 or not LENGTH.fullmatch(min(stated)):
        raise ValueError(
            f"{shown_path(url)} states the length {shown(', '.join(sorted(stated)))}, expected a "
            "number; download it and give its path"
        )
    length = int(min(stated))
    if length > MAX_BYTES:
        raise ValueError(
            f"{shown_path(url)} has {length} bytes, over {MAX_BYTES}; give smaller shards"
        )
    return length


def _md5(headers: HTTPMessage) -> bytes | None:
    """The MD5 of the body that headers state (RFC 1864, and Google's storage), if one does."""
    stated = headers.get("Content-MD5")
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        for each in ",".join(headers.get_all("x-goog-hash", [])).split(","):
            name, _, value = each.strip().partition("=")
            stated = value if name == "md5" else stated
    if stated is None:
        return None
    with suppress(ValueError):
        return base64.b64decode(stated, validate=True)
    return None


def _say(url: str, done: int, expected: int | None) -> None:
    total = "" if expected is None else f" of {expected / 1e6:.0f}"
    notice(f"fetching {shown_path(url)}: {done / 1e6:.0f}{total} MB")
