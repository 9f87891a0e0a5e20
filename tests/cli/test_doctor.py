"""adm doctor: a table of its findings, and every bad input in one line."""

import json
from pathlib import Path

import pytest
import tiny
from answers import Adm
from samples import archive

CPU = ("--count", 8, "--device", "cpu")
OF_DIFFUSION = {"settings", "start", "error", "colours"}


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images, labels = tiny.stripes().batch(range(30))
    archive(Path("data.npz"), images, 2 - labels, tiny.CLASSES[::-1])  # their order does not matter
    return tmp_path


def test_every_finding_is_in_the_table_and_in_the_document(adm: Adm, models: Path) -> None:
    words = ("doctor", models / "model.safetensors", "--classifier", models / "guide.safetensors")
    words = (*words, "--data", "data.npz", *CPU)
    answer = adm.done(*words)
    findings = json.loads(adm(*words, "--json").out)["findings"]
    assert findings.keys() == OF_DIFFUSION | {"classifier"}
    assert findings["error"]["verdict"] == "wrong"  # its weights are random
    curves = findings["error"]["curves"]
    assert len(curves["level"]) == len(curves["of a linear guess"])
    assert all(name in answer.out for name in findings)
    assert answer.out.splitlines()[-1].startswith("Wrong: ")


def test_what_cannot_be_measured_ends_no_examination(adm: Adm, models: Path) -> None:
    """A classifier of other images, and a start that the process does not have."""
    strange = tiny.diffusion("unet.classes=null", "sample.grid=even:steps=4,start=20")
    path = tiny.model(Path("strange.safetensors"), strange)
    words = ("--classifier", models / "boots.safetensors", "--data", "data.npz", *CPU, "--json")
    assert "colours" in json.loads(adm("doctor", path, *words).out)["findings"]
    larger = json.loads(adm("doctor", models / "larger.safetensors", *words).out)["findings"]
    assert "cannot guide larger" in larger["classifier"]["says"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("guide", {"settings", "classifier"}),
        ("clean", {"settings", "classifier"}),
        ("unlabelled", OF_DIFFUSION),
        ("up", {"settings", "error"}),
    ],
)
def test_every_kind_of_model_is_examined(
    adm: Adm, models: Path, name: str, expected: set[str]
) -> None:
    words = ("--data", "data.npz", *CPU, "--json")
    answer = adm.done("doctor", models / f"{name}.safetensors", *words)
    assert json.loads(answer.out)["findings"].keys() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model", "--count", 3), "--count must be at least 8, got 3"),
        (("model", "--classifier", "model"), "is a diffusion model; give a classifier"),
        (("guide", "--classifier", "guide"), "leave out --classifier"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    adm: Adm, models: Path, words: tuple[object, ...], message: str
) -> None:
    files = [
        models / f"{word}.safetensors" if word in ("model", "guide") else word for word in words
    ]
    assert message in adm("doctor", *files, "--device", "cpu").refusal()
