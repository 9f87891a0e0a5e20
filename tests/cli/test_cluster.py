"""adm cluster: a list that training reads, its record and page; every bad input in one line."""

import csv
import json
from pathlib import Path

import pytest
from answers import Adm
from data.test_archives import png
from samples import archive
from scoring.stubs import spots

POOL = """
from pathlib import Path

import torch


def pool(images):
    with Path("extracted").open("a") as file:
        file.write("." * len(images))
    return torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


def same(images):
    return torch.ones(len(images), 3)
"""
FEATURES = ("--features", "pool.py:pool", "--device", "cpu")
WORDS = ("cluster", "real.npz", *FEATURES, "--clusters", 3)
COUNT = 60


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features, and images of three levels of grey, which are their classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.py").write_text(POOL)
    source = spots(COUNT, size=8)
    archive(Path("real.npz"), *source.batch(range(COUNT)))
    return tmp_path


def rows(path: str) -> dict[str, str]:
    with Path(path).open(newline="") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def contents() -> dict[str, bytes]:
    return {
        name: Path(name).read_bytes() for name in ("labels.csv", "labels.csv.json", "page.html")
    }


def test_a_list_a_record_and_a_page(workdir: Path, adm: Adm) -> None:
    answer = adm.done(*WORDS, "--out", "labels.csv", "--page", "page.html")
    assert "labels.csv: 60 images in 3 clusters of 20 to 20" in answer.out
    assert "score samples by other features than pool.py:pool" in answer.out
    listed = rows("labels.csv")
    assert list(listed) == [f"train/{index}" for index in range(COUNT)]
    assert all(listed[f"train/{i}"] == listed[f"train/{i % 3}"] for i in range(COUNT))
    record = json.loads(Path("labels.csv.json").read_text())
    assert record["sizes"] == [20, 20, 20]
    assert (record["seed"], record["features"], record["images"]) == (0, "pool.py:pool", COUNT)
    assert "scikit-learn" in record["versions"]
    page = Path("page.html").read_text()
    assert page.count("<img") == 3


def test_the_same_command_writes_the_same_bytes(workdir: Path, adm: Adm) -> None:
    words = (*WORDS, "--out", "labels.csv", "--page", "page.html")
    adm.done(*words)
    first = contents()
    adm.done(*words, "--batch-size", 7)
    assert contents() == first
    adm.done(*words, "--seed", 1)
    assert contents()["labels.csv.json"] != first["labels.csv.json"]


def test_images_that_all_have_the_same_features_leave_nothing_behind(
    workdir: Path, adm: Adm
) -> None:
    words = ("cluster", "real.npz", "--features", "pool.py:same", "--device", "cpu")
    answer = adm(*words, "--clusters", 2, "--out", "labels.csv")
    assert "all images are alike in these features" in answer.err
    assert not list(workdir.glob(".labels*"))
    assert not Path("labels.csv").exists()


BAD = {
    "more clusters than images": (
        ("--clusters", 61),
        "clusters must be from 2 to 60, the number of images, got 61",
    ),
    "a folder for the record": (("--out", "f.csv"), "f.csv.json is a folder; give --out a file"),
    "no such features": (("--features", "diffusion:none"), "no model 'none'; give a path of a"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_refused_before_features_are_extracted(
    workdir: Path, adm: Adm, case: str
) -> None:
    (workdir / "f.csv.json").mkdir()
    words, message = BAD[case]
    options = dict(zip(WORDS[2::2], WORDS[3::2], strict=True)) | {"--out": "labels.csv"}
    options |= dict(zip(words[::2], words[1::2], strict=True))
    flat = [word for pair in options.items() for word in pair]
    assert message in adm("cluster", "real.npz", *flat).refusal()
    assert not (workdir / "extracted").exists()
    assert not (workdir / "labels.csv").exists()


def test_a_name_that_cannot_be_listed_is_refused(workdir: Path, adm: Adm) -> None:
    Path("photos").mkdir()
    for name in ("a.png", " b.png", "c.png"):
        Path("photos", name).write_bytes(png(1))
    answer = adm("cluster", "photos", *FEATURES, "--clusters", 2, "--out", "labels.csv")
    assert answer.refusal().startswith("adm: ' b.png' cannot be written to a list of labels")


def test_the_number_of_clusters_is_chosen_and_the_silhouettes_are_printed(
    workdir: Path, adm: Adm
) -> None:
    words = ("cluster", "digits", *FEATURES, "--out", "l.csv")
    answer = adm.done(*words)
    record = json.loads(Path("l.csv.json").read_text())
    tried = {each["clusters"]: each["silhouette"] for each in record["tried"]}
    assert list(tried) == [10, 20, 50]
    best = max(tried, key=tried.__getitem__)
    assert len(record["sizes"]) == best
    assert f"10 clusters: silhouette {tried[10]:.3f}" in answer.out
