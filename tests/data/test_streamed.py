"""Data in a store equal those on disk; their order is a function of seed and position."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

fsspec = pytest.importorskip("fsspec", reason="the extra `stores` is not installed")

from adm.data import Source, order, shuffle, streamed  # noqa: E402
from adm.data.fingerprint import fingerprint  # noqa: E402
from adm.data.pack import Packing, pack  # noqa: E402
from adm.data.registry import find, open_source  # noqa: E402
from adm.store.files import user_cache  # noqa: E402

COUNT, SHARD = 53, 6  # nine shards
ADDRESS = "memory://bucket/shards"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of images of three classes."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for number in range(COUNT):
        place = folder / "photos" / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{number}.png")
    pack(find(str(folder / "photos")), folder / "shards", Packing(shard_size=SHARD))
    return folder / "shards"


def put(folder: Path, without: str = "nothing") -> None:
    for path in folder.iterdir():
        if without not in path.name:
            fsspec.filesystem("memory").put_file(str(path), f"/bucket/shards/{path.name}")


def same(one: Source, other: Source) -> None:
    """Check that two sources are the same data."""
    indices = list(range(len(one)))
    assert (one.name, one.classes) == (other.name, other.classes)
    for mine, others in zip(one.batch(indices), other.batch(indices), strict=True):
        torch.testing.assert_close(mine, others, rtol=0, atol=0)
    assert fingerprint(one, pixels=True) == fingerprint(other, pixels=True)
    assert [one.listed(index) for index in indices] == [other.listed(index) for index in indices]


@pytest.mark.parametrize("without", ["nothing", "index.json"])
@pytest.mark.parametrize("spec", ["", "/train-*.tar"])
def test_shards_in_a_store_are_those_on_the_disk(packed: Path, without: str, spec: str) -> None:
    put(packed, without)
    same(open_source(f"{packed}{spec}"), open_source(f"{ADDRESS}{spec}"))


def test_one_shard_in_a_store_is_that_on_the_disk(packed: Path) -> None:
    put(packed)
    name = "train-000003.tar"
    same(open_source(f"{packed}/{name}"), open_source(f"{ADDRESS}/{name}"))


def test_headers_are_read_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(packed, "index.json")
    first = open_source(ADDRESS)
    monkeypatch.setattr(streamed, "_read_headers", None)
    same(first, open_source(ADDRESS))


def test_an_index_of_another_archive_is_not_used(packed: Path) -> None:
    put(packed)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/shards/train-000001.index.json", b'{"bytes": 5, "images": []}')
    memory.pipe_file("/bucket/shards/train-000002.index.json", b"damaged")
    same(open_source(str(packed)), open_source(ADDRESS))


def test_an_index_that_points_beyond_its_archive_is_refused(packed: Path) -> None:
    put(packed)
    size = (packed / "train-000001.tar").stat().st_size
    images = f'[["a.png", {size - 5}, 6, 0]]'
    fsspec.filesystem("memory").pipe_file(
        "/bucket/shards/train-000001.index.json",
        f'{{"bytes": {size}, "images": {images}}}'.encode(),
    )
    with pytest.raises(ValueError, match=r"train-000001\.tar ends within a\.png"):
        find(ADDRESS)


def test_fewer_shards_than_were_packed_are_refused(packed: Path) -> None:
    put(packed, "000004")
    with pytest.raises(ValueError, match=r"has 8 of 9 train shards"):
        find(ADDRESS)


def shards_of(source: Source) -> list[streamed.Shard]:
    """The shard of each image."""
    assert source.files is not None
    cells = source.files.open.__closure__
    samples = next(
        cell.cell_contents for cell in cells or () if isinstance(cell.cell_contents, list)
    )
    return [sample.read.__self__ for sample in samples]


def test_a_shard_of_many_reads_is_fetched_and_gives_the_same(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(packed)
    monkeypatch.setattr(streamed, "OFTEN", 1000)
    source = open_source(ADDRESS)
    before = source.batch(range(3))[0]
    assert not any(shard.cached.exists() for shard in shards_of(source))
    monkeypatch.setattr(streamed, "OFTEN", 4)
    source.batch(range(6))
    shard, end = shards_of(source)[0], time.monotonic() + 20
    while not shard.cached.is_file() and time.monotonic() < end:  # a thread fetches it
        time.sleep(0.01)
    assert shard.cached.read_bytes() == (packed / "train-000000.tar").read_bytes()
    fsspec.filesystem("memory").rm_file("/bucket/shards/train-000000.tar")
    torch.testing.assert_close(source.batch(range(3))[0], before, rtol=0, atol=0)


def test_the_oldest_shards_make_room(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(packed)
    shards = list(dict.fromkeys(shards_of(find(ADDRESS))))
    monkeypatch.setattr(streamed, "CACHED_BYTES", 3 * shards[0].info.size)
    for shard in shards:
        shard.fetch()
        assert shard.cached.is_file()
        cached = {path.name for path in user_cache("shards").glob("*.tar")}
        assert len(cached) <= 3
    assert cached == {shard.cached.name for shard in shards[-3:]}
    monkeypatch.setattr(streamed, "CACHED_BYTES", 5)
    shards[0].fetch()
    assert not shards[0].cached.exists()


@pytest.fixture
def windowed(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Data of nine shards, of which two are mixed at a time."""
    put(packed)
    monkeypatch.setattr(streamed, "MIXED_BYTES", 1)
    return open_source(ADDRESS)


def test_data_that_can_be_mixed_as_a_whole_have_the_order_of_the_disk(packed: Path) -> None:
    put(packed)
    assert order(open_source(ADDRESS), 3, 40, 90) == shuffle(3, COUNT, 40, 90)


def test_every_pass_is_a_permutation_in_windows_of_two_shards(windowed: Source) -> None:
    passes = [order(windowed, 5, COUNT * turn, COUNT) for turn in range(3)]
    for one in passes:
        assert sorted(one) == list(range(COUNT))
        shards = [index // SHARD for index in one]
        remaining, used = list(shards), set[int]()
        while remaining:
            window = set(remaining[: SHARD + 1])  # longer than any shard
            assert len(window) <= 2
            window = {each for each in remaining if each in window}
            size = sum(shards.count(each) for each in window)
            used |= window
            remaining = remaining[size:]
            assert not used & set(remaining)
    assert len({tuple(one) for one in passes}) == 3
    assert order(windowed, 6, 0, COUNT) != passes[0]


def test_the_order_is_a_function_of_seed_and_position(windowed: Source) -> None:
    whole = order(windowed, 1, 0, 3 * COUNT)
    for start, count in ((0, 7), (7, 40), (50, 10), (100, 59)):
        assert order(windowed, 1, start, count) == whole[start : start + count]


def test_a_part_of_the_images_has_an_order_of_its_own(windowed: Source) -> None:
    part = windowed.subset(np.arange(0, COUNT, 2))
    indices = order(part, 1, 0, len(part))
    assert sorted(indices) == list(range(len(part)))
    shards = [part.row(index) // SHARD for index in indices]
    assert len(set(shards[:5])) <= 2


def test_other_data_in_a_store_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "data.npz", images, np.arange(4))
    fsspec.filesystem("memory").put_file(str(tmp_path / "data.npz"), "/bucket/data.npz")
    same(open_source(str(tmp_path / "data.npz")), open_source("memory://bucket/data.npz"))
    for number in range(4):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(images[number]).save(tmp_path / "photos" / f"{number}.png")
    fsspec.filesystem("memory").put(str(tmp_path / "photos"), "/bucket/photos", recursive=True)
    same(open_source(str(tmp_path / "photos")), open_source("memory://bucket/photos"))
    monkeypatch.setattr(streamed, "WHOLE_BYTES", 100)
    with pytest.raises(ValueError, match=r"no shards with labels; write shards with `adm data pa"):
        find("memory://bucket/photos")
    with pytest.raises(ValueError, match=r"memory://bucket/none has no data"):
        find("memory://bucket/none")
