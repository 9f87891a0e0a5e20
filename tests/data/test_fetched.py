"""Shards by address: fetched once, whole or not at all, and within limits."""

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from data.test_archives import LABELS, make_shards, make_tar, png

from adm.data import download, open_source
from adm.data.fetch import fetched
from adm.data.tar import check_whole


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, counts what is asked, and misbehaves when told."""

    asked: list[str]
    fault = ""

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        if not self.fault:
            super().do_GET()
            return
        self.send_response(200)
        if self.fault != "endless":
            self.send_header("Content-Length", {"short": "1000", "huge": str(1 << 60)}[self.fault])
        self.end_headers()
        self.wfile.write(b"x" * 500)
        self.close_connection = True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, type[Handler]]]:
    """The address, the folder that it shows, and the handler."""
    place = tmp_path / "served"
    place.mkdir()
    handler = type("Counting", (Handler,), {"asked": []})
    here = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(place)))
    thread = threading.Thread(target=here.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{here.server_address[1]}", place, handler
    here.shutdown()
    here.server_close()


def test_shards_by_address_are_what_they_are_on_disk(tmp_path: Path, server) -> None:
    address, place, handler = server
    make_shards(place / "set", LABELS["numbers"])
    (place / "set" / "classes.json").write_text('["ant", "bee", "cat"]')
    cache = tmp_path / "cache"
    spec = f"{address}/set/s-{{000000..000002}}.tar"
    source = open_source(spec, cache=cache)
    whole = open_source(str(place / "set"))
    assert (source.name, source.classes) == ("set", ("ant", "bee", "cat"))
    assert torch.equal(source.batch(range(12))[0], whole.batch(range(12))[0])
    assert torch.equal(source.labels, whole.labels)
    asked = list(handler.asked)
    open_source(spec, cache=cache)
    assert handler.asked == asked  # nothing is fetched twice
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == [
        "classes.json",
        "s-000000.tar",
        "s-000001.tar",
        "s-000002.tar",
    ]


def test_names_for_the_classes_may_be_absent(tmp_path: Path, server) -> None:
    address, place, _ = server
    make_shards(place / "set", LABELS["numbers"])
    source = open_source(f"{address}/set/s-000000.tar", cache=tmp_path / "cache")
    assert (source.name, source.classes) == ("s-000000", ("0", "1", "2"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short", "500 of 1000 bytes|did not arrive"),
        ("huge", "over"),
        ("endless", "more than|over"),
    ],
)
def test_what_does_not_arrive_whole_leaves_nothing(
    tmp_path: Path, server, fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _, handler = server
    handler.fault = fault
    if fault == "endless":
        monkeypatch.setattr(download, "MAX_BYTES", 400)
    with pytest.raises(ValueError, match=message):
        fetched(f"{address}/a.tar", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_absent_file_says_so_unless_it_is_optional(tmp_path: Path, server) -> None:
    address, _, _ = server
    with pytest.raises(ValueError, match=r"none\.tar did not arrive \(.*404"):
        fetched(f"{address}/none.tar", tmp_path / "cache")
    assert fetched(f"{address}/none.tar", tmp_path / "cache", optional=True) is None


def test_of_several_that_want_a_file_one_fetches(tmp_path: Path, server) -> None:
    address, place, handler = server
    (place / "a.tar").write_bytes(b"x" * 5_000_000)
    found: list[Path | None] = []

    def want() -> None:
        found.append(fetched(f"{address}/a.tar", tmp_path / "cache"))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert found[0] is not None
    assert found[0].stat().st_size == 5_000_000
    assert len(handler.asked) == 1


FETCHER = """
import sys
from pathlib import Path
from adm.data import fetch
def stuck(url, file):
    file.write(b"ha")
    file.flush()
    print("fetching", flush=True)
    sys.stdin.read()
fetch.download = stuck
fetch.fetched(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_fetch_that_is_killed_is_taken_over_at_once(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "a.tar").write_bytes(b"whole")
    url, cache = f"{address}/a.tar", tmp_path / "cache"
    other = subprocess.Popen(
        [sys.executable, "-c", FETCHER, url, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"fetching\n"
    found: list[Path | None] = []
    waiting = threading.Thread(target=lambda: found.append(fetched(url, cache)))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()  # it does not fetch what another process is fetching
    other.kill()
    other.communicate()
    waiting.join(10)
    (path,) = found
    assert path is not None
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://host/a.tar", "http:///a.tar", "http://[::1/a.tar"),
        *(
            "http://h/\x1b[2J.tar",
            "http://h/a b.tar",
            "http://h/ü.tar",
            f"http://h/{'a' * 9000}.tar",
        ),
    ],
)
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"is no http or https address|Invalid IPv6"):
        fetched(url, tmp_path)


def test_no_name_leaves_the_cache(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "..%2f..%2fevil.tar").write_bytes(b"x")
    with pytest.raises(ValueError, match="did not arrive"):
        fetched(f"{address}/a/..%2f..%2f..%2fevil.tar", tmp_path / "deep" / "cache")
    assert not list(tmp_path.glob("*evil*"))


ONES = b"x" * 500


def respond(handler: Handler, head: list[tuple[str, str]], body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    for name, value in head:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


RESPONSES: dict[str, tuple[list[tuple[str, str]], bytes, str]] = {
    "empty": ([], b"", "is empty; check the address"),
    "empty as stated": ([("Content-Length", "0")], b"", "is empty; check the address"),
    "a length in words": ([("Content-Length", "5_00")], ONES, "states the length '5_00'"),
    "two lengths": (
        [("Content-Length", "500"), ("Content-Length", "400")],
        ONES,
        "states the length '400, 500'",
    ),
    "too long": ([("Content-Length", "9" * 5000)], ONES, "states the length '9+…9+', expected a"),
    "chunks without end": ([("Transfer-Encoding", "chunked")], b"1f4\r\n" + ONES, "did not arrive"),
    "a chunk cut short": ([("Transfer-Encoding", "chunked")], b"fff\r\n" + ONES, "did not arrive"),
    "compressed": ([("Content-Encoding", "gzip")], ONES, "encoding 'gzip', expected 200 without"),
    "other MD5": (
        [("Content-MD5", base64.b64encode(hashlib.md5(b"y").digest()).decode())],
        ONES,
        "has another MD5 than its server states",
    ),
    "other MD5 at Google": (
        [("x-goog-hash", "crc32c=n03x6A=="), ("x-goog-hash", "md5=1B2M2Y8AsgTpgAmY7PhCfg==")],
        ONES,
        "has another MD5",
    ),
    "many headers": ([(f"X-{i}", "a") for i in range(200)], ONES, "did not arrive .*headers"),
    "a long header": ([("X-Long", "a" * 100_000)], ONES, "did not arrive"),
}


def serve(handler: type[Handler], act: Callable[[Handler], None]) -> None:
    handler.do_GET = act  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_body_that_is_not_what_the_headers_state_is_not_kept(
    tmp_path: Path, server, kind: str
) -> None:
    address, _, handler = server
    head, body, message = RESPONSES[kind]
    serve(handler, lambda one: respond(one, head, body))
    with pytest.raises(ValueError, match=message) as raised:
        fetched(f"{address}/a.tar", tmp_path / "cache")
    assert address in str(raised.value)
    assert len(str(raised.value)) < 500
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "head",
    [
        [],
        [("Content-Length", "500")],
        [("Content-MD5", base64.b64encode(hashlib.md5(ONES).digest()).decode())],
        [("x-goog-hash", f"md5={base64.b64encode(hashlib.md5(ONES).digest()).decode()}")],
    ],
)
def test_a_body_that_is_what_the_headers_state_is_kept(tmp_path: Path, server, head) -> None:
    address, _, handler = server
    serve(handler, lambda one: respond(one, head, ONES))
    path = fetched(f"{address}/a.tar", tmp_path / "cache")
    assert path is not None
    assert path.read_bytes() == ONES


def redirect(to: str) -> Callable[[Handler], None]:
    return lambda one: respond(one, [("Location", to)], b"", 302)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("file:///etc/passwd", "redirects to file:///etc/passwd, which is no http or https"),
        ("ftp://127.0.0.1/a.tar", "redirects to ftp://127.0.0.1/a.tar, which is no http"),
        (
            "http://localhost:{port}/b.tar",
            "at the private address (127.0.0.1|::1), which is not followed",
        ),
        ("http://[::ffff:127.0.0.1]:{port}/b.tar", "private address 127.0.0.1|did not arrive"),
        ("/a.tar", "did not arrive .*infinite loop"),
    ],
)
def test_a_redirect_elsewhere_is_not_followed(
    tmp_path: Path, server, to: str, message: str
) -> None:
    address, place, handler = server
    (place / "b.tar").write_bytes(ONES)
    port = address.rpartition(":")[2]
    serve(handler, redirect(to.format(port=port)))
    with pytest.raises(ValueError, match=message):
        fetched(f"{address}/a.tar", tmp_path / "cache")


def test_a_redirect_within_the_host_is_followed(tmp_path: Path, server) -> None:
    address, place, handler = server
    (place / "b.tar").write_bytes(ONES)
    served = Handler.do_GET

    def act(one: Handler) -> None:
        redirect("/b.tar")(one) if one.path == "/a.tar" else served(one)

    serve(handler, act)
    path = fetched(f"{address}/a.tar", tmp_path / "cache")
    assert path is not None
    assert path.read_bytes() == ONES


@pytest.mark.parametrize("within", ["header", "chunk", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_left(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch, within: str
) -> None:
    address, _, handler = server
    monkeypatch.setattr(download, "WINDOW_SECONDS", 0.3)
    start = {
        "header": b"HTTP/1.1 200 OK\r\nX-Long: ",
        "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        "body": b"HTTP/1.1 200 OK\r\n\r\n",
    }[within]

    def drip(one: Handler) -> None:
        one.wfile.write(start)
        for _ in range(100):
            one.wfile.write(b"1")
            time.sleep(0.05)

    serve(handler, drip)
    began = time.monotonic()
    with pytest.raises(ValueError, match="sent less than 1000 bytes per second for"):
        fetched(f"{address}/a.tar", tmp_path / "cache")
    assert time.monotonic() - began < 3
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"<html>sign in</html>", ONES, "cut", "cut within"])
def test_an_archive_that_is_not_whole_is_not_kept(
    tmp_path: Path, server, content: bytes | str
) -> None:
    address, _, handler = server
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
    whole = stream.getvalue()
    sent = {"cut": whole[:1024], "cut within": whole[:600]}.get(str(content), content)
    serve(handler, lambda one: respond(one, [], sent if isinstance(sent, bytes) else b""))
    with pytest.raises(ValueError, match=r"a\.tar is not kept \(.*\); check the address, or run"):
        open_source(f"{address}/a.tar", cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*.tar") if path.is_file()]
    serve(handler, lambda one: respond(one, [], whole))
    fetched(f"{address}/a.tar", tmp_path / "cache", check=check_whole)


def test_a_hash_in_the_address_is_verified(tmp_path: Path, server) -> None:
    address, place, handler = server
    path = Path(make_tar(place / "a.tar", {"a.png": png(1)}))
    right, cache = hashlib.sha256(path.read_bytes()).hexdigest(), tmp_path / "cache"
    url = f"{address}/a.tar"
    with pytest.raises(ValueError, match=f"has the SHA-256 {right}, expected {'0' * 64}; correct"):
        open_source(f"{url}#sha256={'0' * 64}", cache=cache)
    assert len(open_source(f"{url}#sha256={right.upper()}", cache=cache)) == 1
    asked = list(handler.asked)
    with pytest.raises(ValueError, match="has the SHA-256"):  # in the cache, too
        open_source(f"{url}#sha256={'0' * 64}", cache=cache)
    assert len(open_source(url, cache=cache)) == 1
    assert [each for each in handler.asked[len(asked) :] if each.endswith(".tar")] == []
    for wrong in ("sha256=12", "md5=1", "part"):
        with pytest.raises(ValueError, match=r"expected #sha256= and 64 hexadecimal digits"):
            open_source(f"{url}#{wrong}", cache=cache)
    with pytest.raises(ValueError, match="states one hash for several archives"):
        open_source(f"{address}/{{a,b}}.tar#sha256={right}", cache=cache)
