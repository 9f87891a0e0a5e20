"""Files by address: fetched once, whole or not at all."""

import hashlib
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from data.test_idx import write

from adm.data import idx, open_source
from adm.store.fetch import Remote, fetch

ONES = b"x" * 500
ANY = f"md5:{'0' * 32}"


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder, and record the requests."""

    requests: list[str]

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, type[Handler]]]:
    """The address, the folder that it serves, and the handler."""
    place = tmp_path / "served"
    place.mkdir()
    handler = type("Counting", (Handler,), {"requests": []})
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(place)))
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}", place, handler
    http.shutdown()
    http.server_close()


def serve(handler: type[Handler], head: dict[str, str], body: bytes) -> None:
    def act(one: Handler) -> None:
        one.send_response(200)
        for name, value in head.items():
            one.send_header(name, value)
        one.end_headers()
        one.wfile.write(body)
        one.close_connection = True

    handler.do_GET = act  # type: ignore[method-assign]


def cached_files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_fashion_is_fetched_where_debian_has_none(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, place, handler = server
    write(place)
    sums = {name: hashlib.md5((place / name).read_bytes()).hexdigest() for name in idx.FASHION_MD5}
    monkeypatch.setattr(idx, "DEBIAN_FASHION_MNIST", tmp_path / "absent")
    monkeypatch.setattr(idx, "FASHION_ADDRESS", address)
    monkeypatch.setattr(idx, "FASHION_MD5", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "test"):
        assert len(open_source("fashion-mnist", split=split)) == 3
    assert len(handler.requests) == 4


BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "fewer bytes than stated": ({"Content-Length": "1000"}, ONES),
    "a chunk cut short": ({"Transfer-Encoding": "chunked"}, b"fff\r\n" + ONES),
    "chunks without end": ({"Transfer-Encoding": "chunked"}, b"1f4\r\n" + ONES),
    "more than any file": ({"Content-Length": str(1 << 60)}, ONES),
    "what is not compressed": ({"Content-Encoding": "gzip"}, ONES),
    "a long header": ({"X-Long": "a" * 100_000}, ONES),
}


@pytest.mark.parametrize("kind", BODIES)
def test_an_incomplete_download_leaves_nothing(tmp_path: Path, server, kind: str) -> None:
    address, _, handler = server
    serve(handler, *BODIES[kind])
    with pytest.raises(ValueError, match=r"a\.gz (did not arrive|is over)") as raised:
        fetch(Remote(f"{address}/a.gz", ANY), tmp_path / "cache")
    assert len(str(raised.value)) < 600
    assert cached_files(tmp_path / "cache") == []


def test_an_absent_file_is_reported(tmp_path: Path, server) -> None:
    address, _, _ = server
    with pytest.raises(ValueError, match=r"none\.gz did not arrive \(.*404"):
        fetch(Remote(f"{address}/none.gz", ANY), tmp_path / "cache")


def test_concurrent_requests_fetch_a_file_once(tmp_path: Path, server) -> None:
    address, place, handler = server
    content = b"x" * 5_000_000
    (place / "a.gz").write_bytes(content)
    digest, paths = f"sha256:{hashlib.sha256(content).hexdigest()}", list[Path]()

    def want() -> None:
        paths.append(fetch(Remote(f"{address}/a.gz", digest), tmp_path / "cache"))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = set(paths)
    assert path.stat().st_size == 5_000_000
    assert len(handler.requests) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_file_with_another_hash_is_not_kept(tmp_path: Path, server, kind: str) -> None:
    address, place, _ = server
    (place / "a.gz").write_bytes(ONES)
    right, url = hashlib.new(kind, ONES).hexdigest(), f"{address}/a.gz"
    with pytest.raises(
        ValueError, match=rf"discarded: its {kind} hash is {right}, and the one pub"
    ):
        fetch(Remote(url, f"{kind}:{'0' * len(right)}"), tmp_path / "cache")
    assert cached_files(tmp_path / "cache") == []
    path = fetch(Remote(url, f"{kind}:{right}"), tmp_path / "cache")
    assert path.read_bytes() == ONES


CONTENT = bytes(range(256)) * 20_000
WHOLE = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def cut(handler: type[Handler], after: int, ranges: bool = True) -> None:
    """Serve CONTENT by parts, each of which breaks off."""

    def act(one: Handler) -> None:
        requested = one.headers.get("Range") if ranges else None
        type(one).requests.append(requested or "whole")
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested else 0
        one.send_response(206 if requested else 200)
        one.send_header("Content-Length", str(len(CONTENT) - start))
        one.end_headers()
        one.wfile.write(CONTENT[start : start + after])
        one.close_connection = True

    handler.do_GET = act  # type: ignore[method-assign]


def test_a_download_that_breaks_off_goes_on_where_it_broke(tmp_path: Path, server) -> None:
    address, _, handler = server
    cut(handler, 2_000_000)
    path = fetch(Remote(f"{address}/a.pt", WHOLE), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    starts = [int(request[6:-1]) for request in handler.requests[1:]]
    assert handler.requests[0] == "whole"
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_an_interrupted_download_goes_on_in_the_next_call(tmp_path: Path, server) -> None:
    address, _, handler = server
    remote = Remote(f"{address}/a.pt", WHOLE)
    place = remote.place(tmp_path / "cache")
    place.parent.mkdir(parents=True)
    place.with_name(".a.pt.part").write_bytes(CONTENT[:3_000_000])
    cut(handler, len(CONTENT))
    assert fetch(remote, tmp_path / "cache").read_bytes() == CONTENT
    assert handler.requests == ["bytes=3000000-"]


@pytest.mark.parametrize("ranges", [False, True])
def test_the_rest_of_another_file_is_fetched_again(tmp_path: Path, server, ranges) -> None:
    address, _, handler = server
    remote = Remote(f"{address}/a.pt", WHOLE)
    place = remote.place(tmp_path / "cache")
    place.parent.mkdir(parents=True)
    place.with_name(".a.pt.part").write_bytes(b"of another file")
    cut(handler, len(CONTENT), ranges)
    if ranges:  # a server without them sends all of it
        with pytest.raises(ValueError, match="run the command again"):
            fetch(remote, tmp_path / "cache")
    assert fetch(remote, tmp_path / "cache").read_bytes() == CONTENT


def test_the_size_that_is_expected_bounds_the_download(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "a.pt").write_bytes(CONTENT)
    with pytest.raises(ValueError, match=r"a\.pt is over 1000 bytes"):
        fetch(Remote(f"{address}/a.pt", sizes=(1, 1000)), tmp_path / "cache")
    with pytest.raises(ValueError, match="it has 5120000 bytes, not 6000000 to 7000000"):
        fetch(Remote(f"{address}/a.pt", sizes=(6_000_000, 7_000_000)), tmp_path / "cache")
    assert cached_files(tmp_path / "cache") == []


def test_the_hash_that_the_server_states_is_checked(tmp_path: Path, server) -> None:
    address, _, handler = server
    other = b64encode(hashlib.md5(b"another").digest()).decode()
    serve(handler, {"Content-Length": "500", "Content-MD5": other}, ONES)
    with pytest.raises(ValueError, match="the one that the server states is"):
        fetch(Remote(f"{address}/a.pt"), tmp_path / "cache")
    right = b64encode(hashlib.md5(ONES).digest()).decode()
    serve(handler, {"Content-Length": "500", "Content-MD5": right}, ONES)
    assert fetch(Remote(f"{address}/a.pt"), tmp_path / "cache").read_bytes() == ONES


def test_the_hash_of_the_first_download_is_pinned(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "a.pt").write_bytes(ONES)
    path = fetch(Remote(f"{address}/a.pt"), tmp_path / "cache")
    path.unlink()
    (place / "a.pt").write_bytes(ONES[:-1] + b"y")
    with pytest.raises(ValueError, match="the one of an earlier download is"):
        fetch(Remote(f"{address}/a.pt"), tmp_path / "cache")
    (place / "a.pt").write_bytes(ONES)
    assert fetch(Remote(f"{address}/a.pt"), tmp_path / "cache") == path


def test_offline_the_place_for_the_file_is_named(tmp_path: Path) -> None:
    remote = Remote("http://127.0.0.1:9/a.pt")
    why = r"did not arrive \(127\.0\.0\.1 cannot be reached\)"
    with pytest.raises(ValueError, match=why) as raised:
        fetch(remote, tmp_path)
    assert f"put the file at {remote.place(tmp_path)}" in str(raised.value)
