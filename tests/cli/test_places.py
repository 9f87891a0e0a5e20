"""Path to write -> refused before any work, with its cure, or accepted and left as it is."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from cli.conftest import Adm

from adm.app.cli import places


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "fixed").mkdir()
    tiny.model(tmp_path / "model", tiny.diffusion())
    return tmp_path


WRITERS: dict[str, tuple[tuple[str, ...], str]] = {
    "sample": (("model",), ""),
    "upsample": (("model", "images"), ""),
    "train": (("digits",), ""),
    "demo": ((), ""),
    "sweep": (("model", "--reference", "images"), ""),
    "frontier": (("model", "--reference", "images"), ""),
    "average": (("run", "--width", "0.1"), ".safetensors"),
    "reference": (("images",), ".npz"),
    "cluster": (("images", "--features", "f.py:f", "--clusters", "2"), ".csv"),
    "evaluate": (("images", "--reference", "images"), ".json"),
    "nearest": (("images", "images"), ".png"),
    "data inspect": (("images",), ".json"),
    "data pack": (("images",), ""),
    "data example": ((), ""),
}
BAD = {
    "loop": "is a link that leads to itself; remove the link",
    "loop/out": "is a link that leads to itself; remove the link",
    "file/out": "file is a file, and file/out",
    "dangling/out": "dangling is a link to a folder that is not there; create it first",
    "fixed/out": "fixed: permission denied; change its permissions, or choose another path",
    "fixed/new/out": "fixed: permission denied; change its permissions, or choose another path",
    "n" * 250: "is too long a path; choose a shorter one",
    "n" * 300: "is too long a path; choose a shorter one",
}


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("out", BAD, ids=lambda out: out[:20])
def test_no_verb_starts_work_whose_result_it_cannot_write(
    here: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch, verb: str, out: str
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: at.name != "fixed" and access(at, mode))
    before = sorted(here.rglob("*"))
    words, ending = WRITERS[verb]
    path = out if out == "loop" else f"{out}{ending}"
    answer = adm(*verb.split(), *words, "--out", path)
    assert answer.status == 2
    assert BAD[out] in answer.err
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("verb", ["sample", "upsample", "demo", "data example"])
@pytest.mark.parametrize("out", [".", "..", "/"])
def test_the_current_folder_is_not_replaced(here: Path, adm: Adm, verb: str, out: str) -> None:
    (here / "empty").mkdir()
    os.chdir(here / "empty")
    words = [str(here / word) for word in WRITERS[verb][0]]
    answer = adm(*verb.split(), *words, "--out", out)
    assert f"{out} is or holds the current folder, which stays; choose another --out" in answer.err
    assert (here / "empty").samefile(".")


def test_a_read_only_disk_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.statvfs(here)
    fixed = os.statvfs_result([*kept[:8], kept.f_flag | os.ST_RDONLY, *kept[9:]])
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: fixed)
    with pytest.raises(OSError, match="Read-only") as raised:
        places.creatable(here / "out", "--out")
    assert (raised.value.errno, raised.value.filename) == (errno.EROFS, str(here))


GOOD: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: places.file(path, "--out", "a.json"), "file"),
    (lambda path: places.file(path, "--out", "a.json"), "dangling"),
    (lambda path: places.file(path, "--out", "a.json"), "deep/er/file"),
    (lambda path: places.file(path, "--out", "a.json"), "/dev/null"),
    (lambda path: places.resumable(path, "a run needs"), "run"),
    (lambda path: places.resumable(path, "a run needs"), "."),
    (places.replaceable, "dangling"),
    (places.replaceable, "deep/er"),
    (places.replaceable, "../" + "n" * 240),
]


@pytest.mark.parametrize(("check", "out"), GOOD, ids=lambda each: str(each)[:20])
def test_what_can_be_written_passes(here: Path, check: Callable[[Path], None], out: str) -> None:
    before = sorted(here.rglob("*"))
    check(Path(out))
    assert sorted(here.rglob("*")) == before
