"""adm sweep, adm nearest -> figures, tables, a page, flagged copies; or one line of refusal."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from samples import archive, contents
from scoring.stubs import spots

from adm import load, sweep
from adm.models.load import load_classifier
from adm.store.arrays import write_npz


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Real images, and features of their own."""
    (tmp_path / "rows.py").write_text(
        "def rows(images):\n    return images.float().mean(dim=(1, 3))\n\nrows.name = 'rows'\n"
    )
    return archive(tmp_path / "real.npz", *spots(40).batch(range(40)))


@pytest.fixture
def swept(files: Path, data: Path, tmp_path: Path, adm: Adm) -> Callable[..., Path]:
    """Name of a model, options -> the folder of its guided, judged sweep of 8 images a point."""

    def sweep(model: str, *options: str) -> Path:
        out = tmp_path / "out"
        words = ["sweep", files / model, "--classifier", files / "guide.safetensors"]
        words += ["--reference", data, "--features", f"{tmp_path}/rows.py:rows"]
        words += ["--judge", files / "judge.safetensors", "--vary", "steps=3", "--count", "8"]
        adm.done(*words, "--out", out, *options)
        return out

    return sweep


def test_the_command_leaves_figures_tables_and_a_page(swept: Callable[..., Path]) -> None:
    out = swept("model.safetensors", "--vary", "scale=0,2,8", "--vary", "sampler=ddim,ancestral")
    assert {path.name for path in out.iterdir()} == {
        *("samples", "points", "references"),
        *("report.html", "report.csv", "report.json", "sweep-rows-scale.png"),
    }
    assert (out / "report.csv").read_text().count(",ancestral,3,") == 3
    page = (out / "report.html").read_text()
    assert "is lowest at scale" in page
    assert "Images at the same place" in page
    assert "Some points are unconditional" not in page
    numbers = page.partition("<h2>Numbers</h2>")[2].split('<table class="numbers')[1:]
    for table in numbers:
        columns: dict[str, set[int]] = {}
        for of, value in re.findall(r'<td data-of="([^"]+)"[^>]*><span>([^<]+)', table):
            columns.setdefault(of, set()).add(len(value.partition(".")[2]))
        assert columns
        assert all(len(decimals) == 1 for decimals in columns.values()), columns
        headings = {*re.findall(r'<td data-of="([^"]+)"', table)} - {"scale", "sampler"}
        assert all(heading.endswith(" is better") for heading in headings), headings
        assert len(headings) <= 8, "as many as fit the page"


def test_an_unconditional_model_is_swept_with_the_classifier_s_classes_in_given_proportions(
    files: Path, tmp_path: Path, swept: Callable[..., Path]
) -> None:
    """The released 256x256 model without labels, guided: a row of the paper's main table."""
    (tmp_path / "labels.csv").write_text("file,label\na,0\nb,1\nc,2\nd,2\n")
    options = ("--vary", "scale=0,2", "--proportions", str(tmp_path / "labels.csv"))
    out = swept("unlabelled.safetensors", *options)
    guided = json.loads((out / "samples" / "steps-3_scale-2" / "samples.json").read_text())
    assert np.bincount(guided["labels"]).tolist() == [2, 2, 4]
    page = (out / "report.html").read_text()
    assert "Some points are unconditional" in page
    for name in load_classifier(files / "guide.safetensors").classes:
        assert f">{name}<" in page


def test_features_of_a_released_reference_are_extracted_once(
    files: Path, data: Path, tmp_path: Path, adm: Adm
) -> None:
    """A released reference holds statistics of all images, and some images without features."""
    reference, out, calls = tmp_path / "reference.npz", tmp_path / "out", tmp_path / "calls"
    text = (tmp_path / "rows.py").read_text()
    text += f"rows.fingerprint = '1'\nbefore = rows\n\ndef rows(images):\n    open({str(calls)!r}, "
    text += "'a').write(f'{len(images)} ')\n    return before(images)\n\n"
    text += "rows.__dict__.update(before.__dict__)\n"
    (tmp_path / "rows.py").write_text(text)
    features = f"{tmp_path}/rows.py:rows"
    adm.done("reference", data, "--features", features, "--out", reference)
    with np.load(reference) as whole:
        write_npz(tmp_path / "bare.npz", {k: whole[k] for k in whole.files if k != "features"})
    words = ["sweep", files / "model.safetensors", "--classifier", files / "guide.safetensors"]
    words += ["--reference", tmp_path / "bare.npz", "--features", features, "--vary", "scale=0,2"]
    words += ["--vary", "steps=3", "--count", "8", "--out", out]
    answer = adm.done(*words)
    assert "extracting features of bare.npz by rows: 40 of 40" in answer.err
    calls.unlink()
    adm.done(*words)
    assert calls.read_text().split() == ["2"]  # of noise, to check that it takes such images
    archive = max((out / "samples").glob("*/samples.npz"))
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    (out / "report.json").unlink()
    assert f"{archive.parent} is damaged, and sampled again" in adm.done(*words).err
    assert archive.read_bytes() == whole


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--vary", "seed=1", "--vary", "seed=2"], "has seed twice"),
        (["--classes", "bagg"], "did you mean bag"),
    ],
)
def test_bad_words_end_in_one_line_and_leave_nothing(
    files: Path, data: Path, tmp_path: Path, adm: Adm, words: list[str], cure: str
) -> None:
    common = ["sweep", files / "model.safetensors", "--classifier", files / "guide.safetensors"]
    common += ["--reference", data, "--features", f"{tmp_path}/rows.py:rows"]
    assert cure in adm(*common, "--out", tmp_path / "out", *words).refusal()
    assert not (tmp_path / "out").exists()


def test_python_sweeps_as_the_command_does(
    files: Path, data: Path, tmp_path: Path, swept: Callable[..., Path]
) -> None:
    expected = contents(swept("model.safetensors", "--vary", "scale=0,2"))
    model = load(files / "model.safetensors", files / "guide.safetensors", device="cpu")
    result = sweep(
        model,
        vary={"steps": [3], "scale": [2, 0]},
        reference=data,
        features=f"{tmp_path}/rows.py:rows",
        judge=str(files / "judge.safetensors"),
        count=8,
        out=tmp_path / "python",
    )
    assert contents(tmp_path / "python") == expected
    assert [point.settings for point in result.points] == [
        {"steps": 3, "scale": 0},
        {"steps": 3, "scale": 2},
    ]
    scored = json.loads(expected["report.json"])["points"]
    for point, row in zip(result.points, scored, strict=True):
        assert {title: score.to_json() for title, score in point.scores.items()} == row["scores"]
