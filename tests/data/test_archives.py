""".zip archives equal their folder, WebDataset shards are read; member names are never paths."""

import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import CorruptImage, NoSplit, open_source
from adm.data.registry import find

NAMES = ("cats/1.png", "cats/2.png", "cats/10.png", "dogs/a.png")


def png(seed: int, size: tuple[int, int] = (6, 5)) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


FILES = {name: png(seed) for seed, name in enumerate(NAMES)}


def make_folder(path: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> str:
    path = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def make_tar(path: Path, files: dict[str, bytes]) -> str:
    path = path if path.suffix == ".tar" else path.with_name(f"{path.name}.tar")
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


Make = Callable[[Path, dict[str, bytes]], str]
DOGS = tuple(enumerate(("dog", "cat", "dog")))
KINDS: list[Make] = [make_folder, make_zip]
ARCHIVES: list[Make] = [make_zip, make_tar]


def test_an_archive_equals_its_folder(tmp_path: Path) -> None:
    whole = open_source(make_folder(tmp_path / "set", FILES))
    source = open_source(make_zip(tmp_path / "set", dict(reversed(FILES.items()))))
    assert source.classes == whole.classes == ("cats", "dogs")
    assert torch.equal(source.labels, whole.labels)
    assert torch.equal(source.batch(range(4))[0], whole.batch(range(4))[0])
    assert not [path for path in tmp_path.iterdir() if path.stem != "set"]  # nothing is extracted


def test_a_folder_around_all_is_looked_through(tmp_path: Path) -> None:
    source = open_source(make_zip(tmp_path / "a", {f"set/{name}": FILES[name] for name in FILES}))
    assert source.classes == ("cats", "dogs")
    splits = {f"set/{split}/{n}": FILES[n] for split in ("train", "val") for n in FILES}
    spec = make_zip(tmp_path / "b", splits)
    assert len(open_source(spec)) == len(open_source(spec, split="test")) == 4


@pytest.mark.parametrize("make", KINDS)
def test_labels_by_every_rule(tmp_path: Path, make: Make) -> None:
    files = {f"{name}_{i}.png": png(i) for i, name in enumerate(("dog", "cat", "dog"))}
    spec = make(tmp_path / "set", files)
    assert open_source(spec).classes == ("set",)
    prefix = open_source(spec, labels="prefix")
    assert (prefix.classes, prefix.labels.tolist()) == (("cat", "dog"), [0, 1, 1])
    assert open_source(spec, labels="none").labels.tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError, match=r"labels must be folders, prefix, none, or .* got 'prefixes'"
    ):
        open_source(spec, labels="prefixes")


LISTS = {
    "a.csv": "file,label\ndog_0.png,pet\ncat_1.png,cat\ndog_2.png,pet\n",
    "b.csv": "label,file,more\npet,dog_0.png,1\ncat,cat_1.png,1\npet,./dog_2.png,1\n",
    "some.csv": "file,label\ndog_0.png,pet\ncat_1.png,cat\n",
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", LISTS)
def test_labels_by_a_list(tmp_path: Path, make: Make, name: str) -> None:
    files = {f"{n}_{i}.png": png(i) for i, n in enumerate(("dog", "cat", "dog"))}
    (tmp_path / name).write_text(LISTS[name])
    spec = make(tmp_path / "set", files)
    source = open_source(spec, labels=str(tmp_path / name))
    expected = [0, 1] if name == "some.csv" else [0, 1, 1]  # images that it omits are left out
    assert (source.classes, source.labels.tolist()) == (("cat", "pet"), expected)
    assert torch.equal(source.read(0), open_source(spec).read(0))


@pytest.mark.parametrize("make", ARCHIVES)
@pytest.mark.parametrize("name", ["/etc/evil/x.png", "../../evil/x.png", "evil/../../x.png"])
def test_names_that_lead_outside_are_only_names(tmp_path: Path, make: Make, name: str) -> None:
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    source = open_source(make(place / "set", {name: png(1), "./evil/y.png": png(2)}))
    assert source.batch([0, 1])[0].shape == (2, 3, 6, 5)
    assert all("evil" in source.path(index) for index in range(2))
    assert not list(tmp_path.rglob("*.png"))


def test_backslashes_of_windows_separate_folders(tmp_path: Path) -> None:
    names = ("cat\\1.png", "dog\\1.png", "..\\..\\cat\\2.png", "C:\\dog\\2.png")
    spec = make_zip(tmp_path / "set", {name: png(i) for i, name in enumerate(names)})
    assert open_source(make_zip(tmp_path / "two", {n: png(0) for n in names[:2]})).classes == (
        "cat",
        "dog",
    )
    assert open_source(spec).classes == ("C:", "cat", "dog")
    (tmp_path / "l.csv").write_text(
        "file,label\ncat\\1.png,x\ndog/1.png,y\n"
    )  # either way in a list
    assert open_source(spec, labels=str(tmp_path / "l.csv")).labels.tolist() == [0, 1]
    assert not list(tmp_path.rglob("*.png"))


def test_links_in_archives_are_passed_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "s.png"), (tarfile.LNKTYPE, "h.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
        info = tarfile.TarInfo("true.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
    assert len(open_source(str(tmp_path / "a.tar"))) == 1


def test_a_member_that_inflates_beyond_its_claim_is_not_unpacked(tmp_path: Path) -> None:
    path = Path(make_zip(tmp_path / "a", {"a.png": b"\0" * 50_000_000, "b.png": png(1)}))
    content = path.read_bytes()
    assert len(content) < 100_000
    true, lie = struct.pack("<I", 50_000_000), struct.pack("<I", 1000)
    path.write_bytes(content.replace(true, lie))
    source = find(str(path))
    tracemalloc.start()
    with pytest.raises(CorruptImage, match=r"a\.zip/a\.png is damaged \(.*\); download or create"):
        source.read(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("make", ARCHIVES)
def test_a_member_that_claims_too_much_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    for module in ("archive", "shards"):
        monkeypatch.setattr(f"adm.data.{module}.MAX_BYTES", 100)
    with pytest.raises(ValueError, match=r"1\.png .* over 100; remove it"):
        open_source(make(tmp_path / "a", FILES), size=(4, 4))


def test_damage_in_a_zip_is_named(tmp_path: Path) -> None:
    path = Path(make_zip(tmp_path / "a", FILES, zipfile.ZIP_STORED))
    content = bytearray(path.read_bytes())
    content[content.index(FILES["cats/2.png"]) + 60] ^= 0xFF
    path.write_bytes(content)
    source = find(str(path))
    with pytest.raises(CorruptImage, match=rf"{path}/cats/2\.png is damaged"):
        source.batch(range(4))


def shard(start: int, count: int, label: Callable[[int], dict[str, bytes]]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for i in range(start, start + count):
        files[f"{i:05d}.png"] = png(i)
        files.update({f"{i:05d}.{ending}": content for ending, content in label(i).items()})
    return files


def make_shards(path: Path, label: Callable[[int], dict[str, bytes]], prefix: str = "s") -> Path:
    path.mkdir(exist_ok=True)
    for number in range(3):
        make_tar(path / f"{prefix}-{number:06d}.tar", shard(4 * number, 4, label))
    return path


LABELS: dict[str, Callable[[int], dict[str, bytes]]] = {
    "numbers": lambda i: {"cls": str(i % 3).encode()},
    "names": lambda i: {"cls": "cba"[i % 3].encode()},
    "more beside": lambda i: {"cls": str(i % 3).encode(), "txt": b"a caption"},
}


@pytest.mark.parametrize("kind", LABELS)
def test_webdataset_shards(tmp_path: Path, kind: str) -> None:
    folder = make_shards(tmp_path / "set", LABELS[kind])
    order = [2, 1, 0] if kind == "names" else [0, 1, 2]
    source = open_source(str(folder))
    assert source.classes == (("a", "b", "c") if kind == "names" else ("0", "1", "2"))
    assert source.labels.tolist() == [order[i % 3] for i in range(12)]
    expected = np.asarray(Image.open(io.BytesIO(png(7))))
    assert torch.equal(source.read(7), torch.from_numpy(expected.copy()).permute(2, 0, 1))
    assert source.name == "set"
    one = open_source(str(folder / "s-000001.tar"))
    assert torch.equal(one.read(3), source.read(7))


def test_class_names_are_read_next_to_the_shards(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "set", LABELS["numbers"])
    (folder / "classes.json").write_text('["ant", "bee", "cat", "dog"]')
    assert open_source(str(folder)).classes == ("ant", "bee", "cat", "dog")
    (folder / "classes.json").write_text('["ant", "bee"]')
    with pytest.raises(ValueError, match=r"classes.json has 2 names and labels go up to 2"):
        open_source(str(folder))
    for wrong in ("{}", '["a", "a"]', "[1]", "nothing"):
        (folder / "classes.json").write_text(wrong)
        with pytest.raises(ValueError, match=r"classes.json must be unique class names"):
            open_source(str(folder))


def test_splits_by_the_names_of_shards(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "set", LABELS["numbers"], "train")
    with pytest.raises(ValueError, match=r"has no test split; name its archives test-000000\.tar"):
        open_source(str(folder), split="test")
    with pytest.raises(NoSplit, match="has no test split"):
        open_source(f"{folder}/train-000000.tar", split="test")


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "set", lambda i: {} if i == 6 else {"cls": b"1"})
    with pytest.raises(ValueError, match=r"s-000001.tar/00006.png has no label; add its .cls"):
        open_source(str(folder))
    assert open_source(str(folder), labels="none").classes == ("set",)
    bare = make_shards(tmp_path / "bare", lambda i: {})
    assert open_source(str(bare)).classes == ("bare",)
