"""Files by address: fetched once, whole or not at all."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from data.test_idx import write

from adm.data import idx, open_source
from adm.data.fetch import fetch

ONES = b"x" * 500
ANY = f"md5:{'0' * 32}"


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and counts what is asked."""

    asked: list[str]

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()


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


def serve(handler: type[Handler], head: dict[str, str], body: bytes) -> None:
    def act(one: Handler) -> None:
        one.send_response(200)
        for name, value in head.items():
            one.send_header(name, value)
        one.end_headers()
        one.wfile.write(body)
        one.close_connection = True

    handler.do_GET = act  # type: ignore[method-assign]


def kept(cache: Path) -> list[str]:
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
    assert len(handler.asked) == 4


BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "fewer bytes than stated": ({"Content-Length": "1000"}, ONES),
    "a chunk cut short": ({"Transfer-Encoding": "chunked"}, b"fff\r\n" + ONES),
    "chunks without end": ({"Transfer-Encoding": "chunked"}, b"1f4\r\n" + ONES),
    "more than any file": ({"Content-Length": str(1 << 60)}, ONES),
    "what is not compressed": ({"Content-Encoding": "gzip"}, ONES),
    "a long header": ({"X-Long": "a" * 100_000}, ONES),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_does_not_arrive_whole_leaves_nothing(tmp_path: Path, server, kind: str) -> None:
    address, _, handler = server
    serve(handler, *BODIES[kind])
    with pytest.raises(ValueError, match=r"a\.gz (did not arrive|is over)") as raised:
        fetch(f"{address}/a.gz", ANY, tmp_path / "cache")
    assert len(str(raised.value)) < 600
    assert kept(tmp_path / "cache") == []


def test_an_absent_file_says_so(tmp_path: Path, server) -> None:
    address, _, _ = server
    with pytest.raises(ValueError, match=r"none\.gz did not arrive \(.*404"):
        fetch(f"{address}/none.gz", ANY, tmp_path / "cache")


def test_of_several_that_want_a_file_one_fetches(tmp_path: Path, server) -> None:
    address, place, handler = server
    content = b"x" * 5_000_000
    (place / "a.gz").write_bytes(content)
    known, found = f"sha256:{hashlib.sha256(content).hexdigest()}", list[Path]()

    def want() -> None:
        found.append(fetch(f"{address}/a.gz", known, tmp_path / "cache"))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = set(found)
    assert path.stat().st_size == 5_000_000
    assert len(handler.asked) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_what_has_another_hash_is_not_kept(tmp_path: Path, server, kind: str) -> None:
    address, place, _ = server
    (place / "a.gz").write_bytes(ONES)
    right = hashlib.new(kind, ONES).hexdigest()
    with pytest.raises(ValueError, match=rf"is not kept \(its hash is not {kind}:000.*run the"):
        fetch(f"{address}/a.gz", f"{kind}:{'0' * len(right)}", tmp_path / "cache")
    assert kept(tmp_path / "cache") == []
    assert fetch(f"{address}/a.gz", f"{kind}:{right}", tmp_path / "cache").read_bytes() == ONES


def test_without_pooch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ValueError, match=r"needs pooch, which is not installed; pip install"):
        fetch("https://example.org/a.gz", ANY, tmp_path)
