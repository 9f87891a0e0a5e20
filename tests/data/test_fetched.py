"""Shards by address: fetched once, whole or not at all."""

import hashlib
import io
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from data.test_archives import LABELS, make_shards, make_tar, png
from data.test_idx import write

from adm.data import fetch as module
from adm.data import idx, open_source
from adm.data.fetch import fetch

ONES = b"x" * 500


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
    assert kept(cache) == ["classes.json", "s-000000.tar", "s-000001.tar", "s-000002.tar"]


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
    "more than any shard": ({"Content-Length": str(1 << 60)}, ONES),
    "what is not compressed": ({"Content-Encoding": "gzip"}, ONES),
    "a long header": ({"X-Long": "a" * 100_000}, ONES),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_does_not_arrive_whole_leaves_nothing(tmp_path: Path, server, kind: str) -> None:
    address, _, handler = server
    serve(handler, *BODIES[kind])
    with pytest.raises(ValueError, match=r"a\.tar (did not arrive|is over)") as raised:
        fetch(f"{address}/a.tar", tmp_path / "cache")
    assert len(str(raised.value)) < 600
    assert kept(tmp_path / "cache") == []


def test_a_body_without_end_is_cut(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch) -> None:
    address, place, _ = server
    monkeypatch.setattr(module, "MAX_BYTES", 3_000_000)
    (place / "a.tar").write_bytes(bytes(5_000_000))
    with pytest.raises(ValueError, match="is over 3000000 bytes"):
        fetch(f"{address}/a.tar", tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def test_an_absent_file_says_so_unless_it_is_optional(tmp_path: Path, server) -> None:
    address, _, _ = server
    with pytest.raises(ValueError, match=r"none\.tar did not arrive \(.*404"):
        fetch(f"{address}/none.tar", tmp_path / "cache")
    assert fetch(f"{address}/none.tar", tmp_path / "cache", optional=True) is None


def test_of_several_that_want_a_file_one_fetches(tmp_path: Path, server) -> None:
    address, place, handler = server
    (place / "a.tar").write_bytes(b"x" * 5_000_000)
    found: list[Path | None] = []

    def want() -> None:
        found.append(fetch(f"{address}/a.tar", tmp_path / "cache"))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = set(found)
    assert path is not None
    assert path.stat().st_size == 5_000_000
    assert len(handler.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://host/a.tar", "http:///a.tar", "http://[::1/a.tar"),
        *("http://h/\x1b[2J.tar", "http://h/a b.tar", "http://h/ü.tar"),
        f"http://h/{'a' * 9000}.tar",
    ],
)
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"is no http or https address|Invalid IPv6"):
        fetch(url, tmp_path)


def test_no_name_leaves_the_cache(tmp_path: Path, server) -> None:
    address, _, handler = server
    serve(handler, {}, ONES)
    path = fetch(f"{address}/a/..%2f..%2f..%2fevil.tar", tmp_path / "deep" / "cache")
    assert path is not None
    assert path.is_relative_to(tmp_path / "deep" / "cache")
    assert not list(tmp_path.glob("*evil*"))


@pytest.mark.parametrize("content", [b"<html>sign in</html>", ONES, "cut within"])
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
    serve(handler, {}, content if isinstance(content, bytes) else whole[:600])
    with pytest.raises(ValueError, match=r"a\.tar is not kept \(.*\); check the address, or run"):
        open_source(f"{address}/a.tar", cache=tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def test_a_hash_in_the_address_is_verified(tmp_path: Path, server) -> None:
    address, place, _ = server
    path = Path(make_tar(place / "a.tar", {"a.png": png(1)}))
    url, cache = f"{address}/a.tar", tmp_path / "cache"
    hashed: dict[str, Callable] = {"sha256": hashlib.sha256, "md5": hashlib.md5}
    for name, digest in hashed.items():
        right = digest(path.read_bytes()).hexdigest()
        with pytest.raises(ValueError, match=rf"is not kept \(its hash is not {name}=000"):
            open_source(f"{url}#{name}={'0' * len(right)}", cache=cache / name)
        assert len(open_source(f"{url}#{name}={right.upper()}", cache=cache / name)) == 1
    for wrong in ("sha256=12", "md5=1", "part"):
        with pytest.raises(ValueError, match=r"expected #sha256= and 64 hexadecimal digits"):
            open_source(f"{url}#{wrong}", cache=cache)
    with pytest.raises(ValueError, match="states one hash for several archives"):
        open_source(f"{address}/{{a,b}}.tar#sha256={'0' * 64}", cache=cache)


def test_without_pooch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ValueError, match=r"needs pooch, which is not installed; pip install"):
        fetch("https://example.org/a.tar", tmp_path)
