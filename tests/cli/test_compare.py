"""adm compare: its page, picture and table, and every bad input in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from cli.test_output import FEATURES, POOL
from PIL import Image
from samples import archive
from scoring.stubs import spots

WORDS = ("compare", "one.npz", "two.npz", *FEATURES, "--out", "page.html")
IN_A_FOLDER = ("compare", "both", "one.npz", *FEATURES)


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pool.py").write_text(POOL)
    for name, seed in (("one", 1), ("two", 2)):
        archive(f"{name}.npz", spots(40, seed=seed).batch(range(40))[0], np.arange(40) % 4)
    return tmp_path


def test_a_page_a_picture_and_a_table(adm: Adm) -> None:
    answer = adm.done(*WORDS, "--class", "3,1", "--count", 5, "--picture", "page.png")
    assert any(line.split()[:1] == ["0"] for line in answer.out.splitlines())
    page = Path("page.html").read_text()
    assert page.count("<img") == 4  # two classes of two sets
    assert "<h2>1</h2>" in page
    assert "<h2>0</h2>" not in page
    assert [f">{name}</td>" in page for name in ("0", "2", "mean", "4")] == [
        *[True] * 3,
        False,
    ]
    assert Image.open("page.png").width > 2 * 6 * 8
    assert not list(Path().glob("*work*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "one.npz", "--out", "page.html"), "give two or more sets of images"),
        ((*WORDS, "--class", "7"), "no class '7' is in all of the images; those are 0, 1, 2, 3"),
        ((*WORDS, "--picture", "page.jpg"), "the picture is a .png file"),
        ((*WORDS, "--split", "tests"), "--split"),
        ((*IN_A_FOLDER, "--out", "both/page.html"), "--out both/page.html is in both"),
        ((*IN_A_FOLDER, "--out", "page.html", "--picture", "both/p.png"), "is in both, which is"),
        ((*IN_A_FOLDER, "--out", "page.html", "--work", "both/a/work"), "is in both, which is"),
    ],
)
def test_bad_input_is_refused_in_one_line(adm: Adm, words, message) -> None:
    Path("both/a").mkdir(parents=True)
    assert message in adm(*words).refusal()
    assert not Path("page.html").exists()
    assert not [*Path("both").rglob("*.*")]


def test_a_folder_of_sample_folders_stands_for_those_of_the_same_classes(
    adm: Adm, models: Path
) -> None:
    """As samples/ of a demo, which also holds images of other classes."""
    for name, model in (("a", "model"), ("b", "model"), ("aa", "unlabelled")):
        words = ("--count", 6, "--steps", 2, "--device", "cpu", "--out", f"samples/{name}")
        answer = adm.done("sample", models / f"{model}.safetensors", *words)
    archive("real.npz", *tiny.stripes().batch(range(30)), tiny.CLASSES[::-1])  # in another order
    answer = adm.done("compare", "samples", "real.npz", *FEATURES, "--out", "page.html", "--json")
    distances = json.loads(answer.out)["within_class_distance"]
    assert list(distances) == list(tiny.CLASSES)
    assert all(list(each) == ["a", "b", "real.npz"] for each in distances.values())
    # The distance of two images has no interval.
    assert distances["bag"]["a"] | {"low": None, "high": None} == distances["bag"]["a"]
