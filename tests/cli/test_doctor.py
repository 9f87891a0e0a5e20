"""adm doctor: a table and a page of its findings, and every bad input in one line."""

import json
from pathlib import Path

import pytest
import tiny
from answers import Adm
from samples import archive

from adm.app.cli.doctor import COLOURS

CPU = ("--count", 8, "--device", "cpu")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images, labels = tiny.stripes().batch(range(30))
    archive("data.npz", images, 2 - labels, tiny.CLASSES[::-1])  # their order does not matter
    return tmp_path


def test_every_finding_is_in_the_table_on_the_page_and_in_the_document(
    adm: Adm, models: Path
) -> None:
    words = ("doctor", models / "model.safetensors", "--classifier", models / "guide.safetensors")
    words = (*words, "--data", "data.npz", *CPU)
    answer = adm.done(*words, "--out", "page.html")
    report = json.loads(adm(*words, "--out", "again.html", "--json").out)
    assert Path("page.html").read_text() == Path("again.html").read_text()
    page = Path("page.html").read_text()
    assert {each["verdict"] for each in report["findings"].values()} <= {*COLOURS, "skipped"}
    assert report["findings"]["estimate"]["verdict"] == "wrong"  # its weights are random
    assert report["findings"]["pair"]["verdict"] == "ok"
    assert report["findings"]["overfitting"]["verdict"] == "skipped"  # an archive has no test split
    for name, each in report["findings"].items():
        if each["verdict"] != "skipped":
            assert f">{name}</td>" in page
            assert f"{each['verdict']:<8}"[:8].strip() in answer.out
        assert name in answer.out
    assert page.count("<img") == 4  # two figures, samples and data
    assert "Skipped " in answer.out
    assert answer.out.splitlines()[-1].startswith("page.html: open it")
    assert "wrong: " in answer.out.splitlines()[-2].lower()


def test_what_cannot_be_measured_ends_no_examination(adm: Adm, models: Path) -> None:
    """A classifier of other classes, and a start that the process does not have."""
    strange = tiny.diffusion("unet.classes=null", "sample.grid=even:steps=4,start=20")
    path = tiny.model(Path("strange.safetensors"), strange)
    words = ("--classifier", models / "boots.safetensors", "--data", "data.npz", *CPU, "--json")
    findings = json.loads(adm("doctor", path, *words).out)["findings"]
    assert findings["colours"]["verdict"] != "skipped"  # sampled without guidance
    clean = json.loads(adm("doctor", models / "larger.safetensors", *words).out)["findings"]
    assert clean["pair"]["verdict"] == "wrong"
    assert "images of" in clean["classifier"]["says"]


@pytest.mark.parametrize("name", ["guide", "clean", "unlabelled", "up"])
def test_every_kind_of_model_is_examined(adm: Adm, models: Path, name: str) -> None:
    words = ("--data", "data.npz", *CPU, "--json")
    answer = adm.done("doctor", models / f"{name}.safetensors", *words)
    findings = json.loads(answer.out)["findings"]
    expected = {
        "guide": {"settings", "classifier", "gradient", "overfitting", "average"},
        "clean": {"settings", "classifier", "gradient", "overfitting", "average"},
    }
    generative = {"settings", "start", "estimate", "variance", "overfitting", "average"}
    generative |= {"colours", "saturation"}
    expected |= {"unlabelled": generative | {"classifier"}, "up": generative | {"labels"}}
    assert set(findings) == expected[name]


@pytest.mark.slow
def test_a_gan_and_its_run_folder_are_examined(adm: Adm, gan: Path) -> None:
    answer = adm.done("doctor", gan, "--data", "data.npz", *CPU, "--json")
    findings = json.loads(answer.out)["findings"]
    assert findings["average"]["verdict"] != "skipped"
    assert {"colours", "saturation", "variety"} <= set(findings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model", "--out", "page.txt"), "the page is an .html file"),
        (("model", "--count", 3), "--count must be at least 8, got 3"),
        (("model", "--classifier", "model"), "is a diffusion model; give a classifier"),
        (("guide", "--classifier", "guide"), "--classifier must be left out"),
    ],
)
def test_bad_input_is_refused_in_one_line(adm: Adm, models: Path, words, message) -> None:
    files = [
        models / f"{word}.safetensors"
        if word in ("model", "guide") or (word == "nothing" and i == 0)
        else word
        for i, word in enumerate(words)
    ]
    assert message in adm("doctor", *files, "--device", "cpu").refusal()
    assert not [*Path().glob("*.html")]
