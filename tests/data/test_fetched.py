"""Shards by address: fetched once, whole or not at all, and within limits."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from data.test_archives import LABELS, make_shards

from adm.data import fetch, open_source
from adm.data.fetch import fetched


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
        monkeypatch.setattr(fetch, "MAX_BYTES", 400)
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


def test_a_fetch_that_died_is_taken_over(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "a.tar").write_bytes(b"whole")
    path = fetched(f"{address}/a.tar", tmp_path / "cache")
    assert path is not None
    path.unlink()
    path.with_name(".a.tar.123-abcd.part").write_bytes(b"ha")
    lock = path.with_name(".a.tar.lock")
    lock.touch()
    long_ago = time.time() - 1000
    os.utime(lock, (long_ago, long_ago))
    fetched(f"{address}/a.tar", tmp_path / "cache")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_fetch_that_was_taken_for_dead_and_goes_on_spoils_nothing(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, place, _ = server
    (place / "a.tar").write_bytes(b"whole")
    cache, whole = tmp_path / "cache", fetch._fetch

    def suspended(url: str, file: BinaryIO, alive: Callable[[], None]) -> None:
        file.write(b"ha")
        (lock,) = cache.rglob(".a.tar.lock")
        os.utime(lock, (time.time() - 1000,) * 2)
        monkeypatch.setattr(fetch, "_fetch", whole)
        assert fetched(url, cache) == lock.with_name("a.tar")  # by another process
        alive()

    monkeypatch.setattr(fetch, "_fetch", suspended)
    path = fetched(f"{address}/a.tar", cache)
    assert path is not None
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.tar", "http:///a.tar"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="is no http or https address"):
        fetched(url, tmp_path)


def test_no_name_leaves_the_cache(tmp_path: Path, server) -> None:
    address, place, _ = server
    (place / "..%2f..%2fevil.tar").write_bytes(b"x")
    with pytest.raises(ValueError, match="did not arrive"):
        fetched(f"{address}/a/..%2f..%2f..%2fevil.tar", tmp_path / "deep" / "cache")
    assert not list(tmp_path.glob("*evil*"))
