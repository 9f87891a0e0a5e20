"""bad input -> one line that names the cure, exit status 2, and nothing written."""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from cli.conftest import Adm
from safetensors.torch import save_file

TRAIN = ("train", "digits", "--data", "digits")


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["train", "digts"], "no recipe 'digts'; did you mean digits"),
        (["train", "digits", "--set", "unet.dropout"], "--set must be a field and a value"),
        (["train", "digits", "--set", "unet.norm_groups=7"], "set norm_groups to a divisor"),
        (["train", "digits", "--set", "unet.classes=4"], "unet.classes must be 10"),
        (["train", "digits", "--steps", "0"], "train.steps"),
        (["train", "digits", "--data", "digts"], "no data 'digts'; did you mean digits?"),
        (["train", "digits", "--device", "gpu"], "device"),
        (["train"], "RECIPE requires an argument"),
    ],
)
def test_training_refuses(adm: Adm, tmp_path: Path, words: list[str], cure: str) -> None:
    out = tmp_path / "run"
    assert cure in adm(*words, "--out", out).refusal()
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (
            ["--classes", "snaeker:2"],
            "--classes must be classes of the model, got 'snaeker'; did you mean sneaker?",
        ),
        (
            ["--classes", "all", "--count", "3"],
            "--count must be left out where --classes says how many",
        ),
        (
            ["--sampler", "dim"],
            "--sampler must be one of ancestral, ddim, ",
        ),
        (["--sampler", "ipndm", "--steps", "2"], "steps"),
        (["--steps", "21"], "steps must be in 2..20, got 21"),
        (["--grid", "even:start=99"], "start of --grid must be a level in 2..20, got 99"),
        (["--sampler", "ddim:eta=2"], "eta of --sampler must be at most 1, got"),
        (["--scale", "nan"], "expected a finite number, got nan"),
        (["--scale", "2"], "classifier"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--device", "cuda:99"], "device"),
        (["--nonsense"], "Unknown option: --nonsense"),
    ],
)
def test_sampling_refuses(
    adm: Adm, models: Path, tmp_path: Path, words: list[str], cure: str
) -> None:
    out = tmp_path / "out"
    answer = adm("sample", models / "model.safetensors", "--out", out, *words)
    assert cure in answer.refusal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("linear", "noise schedule, cosine, got"),
        ("boots", "classes, ('sneaker', 'bag', 'ankle boot'), got"),
        ("model", "is a diffusion model; give a classifier"),
    ],
)
def test_a_classifier_that_does_not_match_is_refused(
    adm: Adm, models: Path, tmp_path: Path, name: str, cure: str
) -> None:
    guide = ("--classifier", models / f"{name}.safetensors", "--scale", 1)
    answer = adm("sample", models / "model.safetensors", *guide, "--out", tmp_path / "out")
    assert cure in answer.refusal()
    assert list(tmp_path.iterdir()) == []


class Runs:
    """A pickle of this makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.mkdir, (self.marker,))


def damaged(kind: str, path: Path, marker: Path) -> None:
    if kind == "truncated":
        whole = tiny.model(path, tiny.diffusion()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Runs(marker)))
    elif kind == "torch":
        torch.save({"model": Runs(marker)}, path)
    elif kind == "empty":
        path.touch()
    else:
        path.write_text("# a page of text\n")


@pytest.mark.parametrize("verb", ["sample", "info"])
@pytest.mark.parametrize(
    ("kind", "name", "cure"),
    [
        ("truncated", "m.safetensors", "copy it again"),
        ("foreign", "m.safetensors", "contains no recipe"),
        ("pickle", "m.safetensors", "give a file that `adm train` wrote"),
        ("torch", "m.safetensors", "give a file that `adm train` wrote"),
        ("empty", "m.safetensors", "give a file that `adm train` wrote"),
        ("text", "m.safetensors", "give a file that `adm train` wrote"),
        ("pickle", "m.pt", "could run code, so it was not loaded"),
        ("torch", "m.pt", "could run code, so it was not loaded"),
        ("empty", "m.pt", "is damaged or not a .pt file"),
        ("text", "m.pt", "m.pt"),
    ],
)
def test_a_file_that_is_no_model_is_refused_and_never_run(
    adm: Adm, tmp_path: Path, verb: str, kind: str, name: str, cure: str
) -> None:
    path, marker, out = tmp_path / name, tmp_path / "ran", tmp_path / "out"
    damaged(kind, path, marker)
    answer = adm(verb, path, *(("--out", out) if verb == "sample" else ()))
    assert cure in answer.refusal()
    assert str(path) in answer.err
    assert not marker.exists()
    assert not out.exists()


def test_a_refusal_is_one_line_of_the_process_itself(tmp_path: Path) -> None:
    path, marker = tmp_path / "m.pt", tmp_path / "ran"
    damaged("pickle", path, marker)
    command = [sys.executable, "-m", "adm", "sample", path, "--out", tmp_path / "out"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1, found.stderr
    assert not found.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_a_model_that_is_not_there_is_refused_with_those_that_are(adm: Adm, tmp_path: Path) -> None:
    options = ("--out", tmp_path / "out")
    assert "no model 'fashoin'; give a path" in adm("sample", "fashoin", *options).refusal()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no checkpoint yet" in adm("sample", empty, *options).refusal()


def test_arrays_with_objects_in_them_are_not_unpickled(adm: Adm, tmp_path: Path) -> None:
    data, marker = tmp_path / "data.npz", tmp_path / "ran"
    held: Any = np.array([Runs(marker)], dtype=object)
    np.savez(data, arr_0=held)
    assert "npz" in adm("train", "digits", "--data", data, "--out", tmp_path / "run").refusal()
    assert not marker.exists()


def test_a_folder_that_holds_another_run_is_refused_and_left_alone(
    adm: Adm, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    tiny.steps(tiny.diffusion(), tiny.stripes(), out, count=1)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    line = adm(*TRAIN, "--out", out).refusal()
    assert re.search(
        r"holds another run: recipe\.\S+ is .* there and .* here; choose another", line
    )
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_folder_that_holds_anything_is_not_sampled_into(
    adm: Adm, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    line = adm("sample", models / "model.safetensors", "--out", tmp_path).refusal()
    assert "already exists and is not empty; choose another folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "is not empty and holds no run" in adm(*TRAIN, "--out", tmp_path).refusal()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_that_knows_no_classes_says_so(adm: Adm, models: Path, tmp_path: Path) -> None:
    words = ("sample", models / "unlabelled.safetensors", "--out", tmp_path / "out")
    line = adm(*words, "--classes", "sneaker").refusal()
    assert "classes" in line
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_to_be_had_for_the_asking(adm: Adm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no recipe"):
        adm("recipes", "fashon")


ADVICE = {
    "a recipe where a model is wanted": (
        ("sample", "256x256-diffusion", "--out", "out"),
        "is a recipe and no model; give runs/256x256-diffusion after `adm train",
    ),
    "a folder of images where a recipe is wanted": (
        ("train", "clean", "--out", "out"),
        "RECIPE must be a name that `adm recipes` lists, a file or a run folder, got 'clean'; to "
        "train on the images of a folder, give it as data: --data clean",
    ),
    "a web page named as a model": (
        ("sample", "page.pt", "--out", "out"),
        "page.pt is a web page, not a model; download the file that it shows",
    ),
    "an option of diffusers": (
        ("sample", "fashion", "--guidance-scale", 2, "--out", "out"),
        "Unknown option: --guidance-scale. It is called --scale here.",
    ),
    "an option of guided-diffusion": (
        ("sample", "fashion", "--use_ddim", "True", "--out", "out"),
        "It is called --sampler ddim here.",
    ),
}


@pytest.mark.parametrize("mistake", ADVICE)
def test_a_usual_mistake_is_told_the_next_step(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean").mkdir()
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    words, line = ADVICE[mistake]
    assert line in adm(*words).refusal()
    assert not (tmp_path / "out").exists()
