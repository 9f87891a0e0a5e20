"""Files by address: fetched once, whole or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from data.test_idx import write

from adm.data import idx, open_source
from adm.store.fetch import PIECE, Remote, fetch

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
    with pytest.raises(ValueError, match=r"a\.gz did not arrive") as raised:
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
        ValueError, match=rf"its {kind} hash is {right}, and the published one is 0"
    ):
        fetch(Remote(url, f"{kind}:{'0' * len(right)}"), tmp_path / "cache")
    assert cached_files(tmp_path / "cache") == []
    path = fetch(Remote(url, f"{kind}:{right}"), tmp_path / "cache")
    assert path.read_bytes() == ONES


@pytest.mark.parametrize("stated", [True, False])
def test_the_size_that_a_file_can_have_bounds_the_download(
    tmp_path: Path, server, stated: bool
) -> None:
    address, _, handler = server
    content = b"x" * (2 * PIECE + 1)
    head = {"Content-Length": str(len(content))} if stated else {}
    serve(handler, head, content)
    with pytest.raises(ValueError, match=rf"a\.pt did not arrive \(it is over {PIECE} bytes"):
        fetch(Remote(f"{address}/a.pt", most=PIECE), tmp_path / "cache")
    assert cached_files(tmp_path / "cache") == []
    path = fetch(Remote(f"{address}/a.pt", most=len(content)), tmp_path / "cache")
    assert path.read_bytes() == content


def test_offline_the_place_for_the_file_is_named(tmp_path: Path) -> None:
    remote = Remote("http://127.0.0.1:9/a.pt")
    why = r"did not arrive \(127\.0\.0\.1 cannot be reached\)"
    with pytest.raises(ValueError, match=why) as raised:
        fetch(remote, tmp_path)
    assert f"put the file at {remote.place(tmp_path)}" in str(raised.value)
