"""hf:owner/name on the command line, and folders in the layout of the Hugging Face hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch
import pytest
import tiny
from answers import Adm
from hubs import Hub, files_of, serving

from adm.models.hub import CONFIG, MODEL, PICTURE

NAME, SPEC, CARD = "someone/tiny", "hf:someone/tiny", "README.md"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "cache", monkeypatch) as hub:
        yield hub


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a diffusion model and a classifier."""
    tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    tiny.model(tmp_path / "c.safetensors", tiny.classifier())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_written(adm: Adm, workdir: Path) -> None:
    report = {
        "features": "pixels",
        "scores": {"frechet": {"title": "", "value": 1.5, "low": 1, "high": None}},
        "classes": [],
        "warnings": [],
        "manifest": {"generated": {"count": 7}},
    }
    (workdir / "report.json").write_text(json.dumps(report))
    options = ("--scores", "report.json")
    assert "a diffusion model" in adm("convert", "m.safetensors", *options, "--out", "m").out
    assert "a classifier" in adm("convert", "c.safetensors", "--out", "c").out
    folders = {name: files_of(workdir / name) for name in ("m", "c")}
    assert set(folders["m"]) == {MODEL, CONFIG, PICTURE, CARD}
    assert set(folders["c"]) == {MODEL, CONFIG, CARD}
    for name, files in folders.items():
        assert files[MODEL] == (workdir / f"{name}.safetensors").read_bytes()
    assert "| 1.500 |" in folders["m"][CARD].decode()
    assert '"count": 7' in folders["m"][CARD].decode()
    adm.done("sample", "m", "--classifier", "c", "--scale", 1, "--count", 1, "--out", "s")


REFUSED = {
    "--out c.safetensors --scores none.json": "--scores needs a model card",
    "--out full": "full already exists and is not empty",
    "--out x --flags=--a": "--flags is for a new .safetensors file",
    "--out x.onnx": "--out ends in .onnx, which is no format of models; end it in .safetensors",
    "--out x --scores none.json": "none.json is not a report",
    "--out hf:me/x": "hf:me/x is out of reach, and not in the cache of this machine; connect",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_written_is_refused(
    adm: Adm, server: Hub, workdir: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (workdir / "full").mkdir()
    (workdir / "full" / "a").touch()
    before = {*workdir.rglob("*")}
    assert REFUSED[words] in adm("-q", "convert", "m.safetensors", *words.split()).refusal()
    assert {*workdir.rglob("*")} == before
    assert server.requests == []


def test_a_new_repository_is_private(
    adm: Adm, server: Hub, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    pushed = dict[str, bytes]()

    def upload(self: Any, *, folder_path: Path, **options: Any) -> str:
        pushed.update(files_of(Path(folder_path)))
        return "https://there/commit"

    monkeypatch.setattr(HfApi, "upload_folder", upload)
    answer = adm("convert", "m.safetensors", "--out", SPEC)
    assert answer.out == "https://there/commit: a diffusion model\n"
    assert set(pushed) == {MODEL, CONFIG, PICTURE, CARD}
    (created,) = server.created
    visibility = created.get("visibility") or ("private" if created["private"] else "public")
    assert visibility == "private"


@pytest.mark.slow
def test_the_hub_is_where_its_variables_say(
    server: Hub, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.has(NAME, {MODEL: (workdir / "m.safetensors").read_bytes()})
    monkeypatch.setenv("HF_HOME", str(workdir / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    printed = launch.finish(launch.command(workdir, ["info", SPEC, "--json"]))
    assert "hf/hub/models--someone--tiny/snapshots/" in json.loads(printed)["file"]
