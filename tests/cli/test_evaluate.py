"""adm reference, adm evaluate: their files and output, and every bad input in one line."""

import json
from pathlib import Path

import launch
import numpy as np
import pytest
from answers import Adm
from PIL import Image
from samples import archive
from scoring.stubs import spots

POOL = """
import torch


def pool(images):
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)


def broken(images):
    return pool(images) / 0


pool.name = "pool"
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features, real images, samples, and a reference of the real ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.py").write_text(POOL)
    save("real.npz", spots(40))
    save("samples.npz", spots(30, seed=1))
    return tmp_path


@pytest.fixture
def with_reference(workdir: Path, adm: Adm) -> Path:
    words = ("--features", "pool.py:pool", "--device", "cpu")
    adm.done("reference", "real.npz", "--out", "ref.npz", *words)
    return workdir


def save(name: str, source) -> None:
    archive(name, *source.batch(range(len(source))), source.classes)


def test_photographs_have_the_size_of_the_samples(workdir: Path, adm: Adm) -> None:
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
        (workdir / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(f"photos/{i}.png")
    report = json.loads(
        adm.done("evaluate", "samples.npz", "--reference", "photos", "--json", *POOLED).out
    )
    sides = [report["manifest"][side]["size"] for side in ("generated", "reference")]
    assert sides == [[8, 8], [8, 8]]
    features = ("--features", "pool.py:pool", "--device", "cpu", "--channels", "3")
    adm.done("nearest", "samples.npz", "photos", *features)


POOLED = ("--features", "pool.py:pool", "--device", "cpu", "--resamples", 20)


def test_a_reference_then_scores_and_nothing_else_is_left(with_reference: Path, adm: Adm) -> None:
    before = {path.name for path in with_reference.iterdir()}
    answer = adm.done(
        "evaluate", "samples.npz", "--reference", "ref.npz", "--out", "report.json", *POOLED
    )
    for words in ("Fréchet distance (pool)", "note: ", "report.json: the whole"):
        assert words in answer.out
    assert "by class" not in answer.out  # each class has fewer than 20 images, thus no scores
    report = json.loads((with_reference / "report.json").read_text("utf-8"))
    assert report["scores"]["precision"]["title"] == "precision (pool)"
    assert report["manifest"]["reference"]["file"] == "ref.npz"
    assert {path.name for path in with_reference.iterdir()} - before <= {
        "report.json",
        "__pycache__",
    }


def test_the_features_are_the_reference_s_where_none_are_named(workdir: Path, adm: Adm) -> None:
    save("real28.npz", spots(20, size=28))
    adm.done("reference", "real28.npz", "--features", "fashion-judge", "--out", "r.npz")
    answer = adm.done("evaluate", "real28.npz", "--reference", "r.npz", "--resamples", 20)
    assert "Fréchet distance (fashion-judge)" in answer.out


@pytest.mark.parametrize("words", [("--count", 20), ("--channels", 3), ("--resize", "none")])
def test_statistics_in_a_file_are_not_those_of_other_images(
    with_reference: Path, adm: Adm, words: tuple[object, ...]
) -> None:
    start = ("evaluate", "ref.npz", "--reference", "real.npz", "--out", "o.json", *POOLED)
    adm.done(*start, *words)
    report = json.loads((with_reference / "o.json").read_text("utf-8"))
    assert report["manifest"]["generated"]["statistics"] == "of the images"


def test_samples_in_arrays_of_another_size_get_no_margins(with_reference: Path, adm: Adm) -> None:
    save("small.npz", spots(20, size=6))
    message = "size resizes image files, and small.npz is an array of 6x6 images"
    options = (*POOLED, "--size", 8)
    assert message in adm("evaluate", "small.npz", "--reference", "ref.npz", *options).refusal()
    # Real images have them, as in training.
    adm.done("evaluate", "samples.npz", "--reference", "small.npz", *options)
    words = ("--out", "small-ref.npz", *options[:4], "--size", 8)
    adm.done("reference", "small.npz", *words)
    with np.load("small-ref.npz") as file:
        assert file["arr_0"].shape == (20, 8, 8, 1)


def test_a_function_may_have_another_path_than_that_of_the_reference(
    with_reference: Path, adm: Adm
) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/mine.py").write_text(POOL.replace('pool.name = "pool"', ""))
    Path("mine.py").write_text(POOL.replace('pool.name = "pool"', ""))
    words = ("--device", "cpu", "--features")
    assert adm("reference", "real.npz", "--out", "r.npz", *words, "elsewhere/mine.py:pool")[0] == 0
    answer = adm.done("evaluate", "samples.npz", "--reference", "r.npz", *words, "mine:pool")
    assert "Fréchet distance (mine:pool)" in answer.out


OPTIONS = {
    "no such features": (("--features", "fid"), "no features 'fid'"),
    "count": (("--count", 31, *POOLED), "count must be from 2 to 30, the number of images of"),
    "out": (("--out", ".", *POOLED), "is a folder; give --out a file"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options_are_refused(with_reference: Path, adm: Adm, case: str) -> None:
    words, message = OPTIONS[case]
    assert message in adm("evaluate", "samples.npz", "--reference", "ref.npz", *words).refusal()


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(with_reference: Path, adm: Adm) -> None:
    words = ["evaluate", "samples.npz", "--reference", "real.npz", *map(str, POOLED)]
    save("samples.npz", spots(700, seed=1))
    adm.done(*words, "--out", "1.json")
    started = launch.command(with_reference.parent, [*words, "--out", "2.json"], processes=2)
    assert launch.finish(started).count("2.json: the whole report") == 1
    assert Path("1.json").read_bytes() == Path("2.json").read_bytes()
    leftovers = {path.name for path in with_reference.iterdir() if path.name.startswith(".")}
    assert not leftovers, leftovers
