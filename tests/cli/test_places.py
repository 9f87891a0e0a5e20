"""Path to write -> refused before any work, with its cure, or accepted and left as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import Adm

from adm.app.cli import places


@pytest.fixture
def workdir(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "fixed").mkdir()
    (tmp_path / "model").symlink_to(models / "model.safetensors")
    return tmp_path


WRITERS: dict[str, tuple[tuple[str, ...], str]] = {
    "sample": (("model",), ""),
    "train": (("digits",), ""),
    "demo": ((), ""),
    "sweep": (("model", "--reference", "images"), ""),
    "reference": (("images",), ".npz"),
    "evaluate": (("images", "--reference", "images"), ".json"),
    "nearest": (("images", "images"), ".png"),
}
BAD = {
    "loop": "loop: too many levels of symbolic links; choose another path",
    "file/out": "file/out is, or is in, a file where a folder is needed; choose another path",
    "/proc/out": "/proc/out does not exist",
    "n" * 300: "file name too long; choose another path",
}


@pytest.mark.parametrize("verb", WRITERS)
def test_no_verb_starts_work_whose_result_it_cannot_write(
    workdir: Path, adm: Adm, verb: str
) -> None:
    before = sorted(workdir.rglob("*"))
    words, ending = WRITERS[verb]
    for out, line in BAD.items():
        answer = adm(*verb.split(), *words, "--out", out if out == "loop" else f"{out}{ending}")
        if out == "loop" and ending:
            assert answer.status == 2
        else:
            assert line.replace("out", f"out{ending}", 1) in answer.refusal()
        assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize("out", [".", "/"])
def test_the_current_folder_is_not_replaced(workdir: Path, adm: Adm, out: str) -> None:
    (workdir / "empty").mkdir()
    os.chdir(workdir / "empty")
    answer = adm("sample", workdir / "model", "--out", out)
    assert f"{out} is or holds the current folder, which stays; choose another --out" in answer.err
    assert (workdir / "empty").samefile(".")


@pytest.mark.parametrize("verb", ["demo", "sweep", "train"])
def test_the_root_of_the_disk_is_no_folder_to_work_in(workdir: Path, adm: Adm, verb: str) -> None:
    answer = adm(verb, *WRITERS[verb][0], "--out", "/")
    assert "/ is the root of the disk" in answer.refusal()


GOOD: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: places.file(path, "--out", "a.json"), "file"),
    (lambda path: places.file(path, "--out", "a.json"), "dangling"),
    (lambda path: places.file(path, "--out", "a.json"), "deep/er/file"),
    (lambda path: places.file(path, "--out", "a.json"), "/dev/null"),
    (lambda path: places.resumable(path, "a run needs"), "run"),
    (lambda path: places.resumable(path, "a run needs"), "."),
    (places.folder, "dangling"),
    (places.folder, "deep/er"),
    (places.folder, "../" + "n" * 240),
]


@pytest.mark.parametrize(("check", "out"), GOOD, ids=lambda each: str(each)[:20])
def test_what_can_be_written_passes(workdir: Path, check: Callable[[Path], None], out: str) -> None:
    before = sorted(workdir.rglob("*"))
    check(Path(out))
    assert sorted(workdir.rglob("*")) == before
