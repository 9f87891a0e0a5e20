"""bad input -> one line that names the cure, exit status 2, and nothing written."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from answers import Adm
from safetensors.torch import save_file

TRAIN = ("train", "digits", "--data", "digits")
# Commands in a folder of models -> parts of the line that refuses them.
REFUSED: dict[str, tuple[str, ...]] = {
    "train digts": ("no recipe 'digts'; did you mean digits",),
    "train digits --set unet.dropout": ("--set must be a field and a value",),
    "train digits --data digts": ("no data 'digts'; did you mean digits?",),
    "train": ("RECIPE is missing; it comes before the options",),
    "sample fashoin": ("no model 'fashoin'",),
    "sample model.safetensors --classes snaeker:2": (
        "there is no class 'snaeker'; did you mean sneaker?",
    ),
    "sample model.safetensors --sampler dim": ("--sampler must be one of ancestral, ddim, ",),
    "sample model.safetensors --sampler ddim:eta=2": ("eta of --sampler must be at most 1, got",),
    "sample model.safetensors --grid even:start=99": (
        "start of --grid must be a level in 2..20, got 99",
    ),
    "sample model.safetensors --scale nan": ("--scale must be a finite number, got nan",),
    "sample model.safetensors --device cuda:99": ("device",),
    "sample model.safetensors --nonsense": ("Unknown option: --nonsense",),
    "sample model.safetensors --classifier model.safetensors --scale 1": (
        "is a diffusion model; give a classifier",
    ),
    "sample model.safetensors --guide weak:scale=1.7": ("--guide weak needs --weak",),
    "sample up.safetensors": ("`adm sample --condition`",),
    "sample model.safetensors --upsampler up.safetensors --steps 3": (
        "makes 8x8 with 1 channel; give an upsampler of these",
    ),
    "sample model.safetensors --upsampler-steps 3": ("--upsampler",),
    "sample model.safetensors --condition images.npz": ("takes no images; leave --condition out",),
    "sample model.safetensors --classes sneaker:99999999": ("at most 10,000,000 images",),
    "restore model.safetensors images.npz --operator inpaint:random=2": ("random of --operator",),
    "edit model.safetensors images.npz --edit noise:strength=9": ("strength of --edit must",),
    "sample model.safetensors --part 1/2 --overwrite": (
        "--overwrite and --part exclude each other; remove the folder first",
    ),
    "train fashion-distilled --teacher fashion --teacher-weak fashion": (
        "--teacher-weak is not used at the scale 1; leave it out",
    ),
    "sample none.safetensors": (
        "does not exist; check the path, or give a name that `adm models`",
    ),
    "sample up.safetensors --shrink": ("--shrink needs --condition",),
}


@pytest.fixture
def workdir(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models and images of 4x4."""
    folder = tmp_path / "here"
    folder.mkdir()
    for path in models.glob("*.safetensors"):
        (folder / path.name).symlink_to(path)
    np.savez(folder / "images.npz", arr_0=np.zeros((3, 4, 4, 1), np.uint8))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_done_is_refused_in_a_line_and_nothing_is_written(
    adm: Adm, workdir: Path, command: str
) -> None:
    before, words = sorted(workdir.rglob("*")), command.split()
    line = adm(*words, "--out", "out").refusal()
    assert all(part in line for part in REFUSED[command]), line
    assert sorted(workdir.rglob("*")) == before


class Runs:
    """A pickle of this makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.mkdir, (self.marker,))


def write_damaged(kind: str, path: Path, marker: Path) -> None:
    if kind == "truncated":
        whole = tiny.model(path, tiny.diffusion()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Runs(marker)))
    elif kind == "torch":
        torch.save({"model": Runs(marker)}, path)
    else:
        path.touch()


@pytest.mark.parametrize("verb", ["sample", "info"])
@pytest.mark.parametrize(
    ("kind", "name", "cure"),
    [
        ("truncated", "m.safetensors", "copy it again"),
        ("foreign", "m.safetensors", "contains no recipe"),
        ("pickle", "m.safetensors", "give a file that `adm train` wrote"),
        ("torch", "m.safetensors", "give a file that `adm train` wrote"),
        ("pickle", "m.pt", "could run code, so it was not loaded"),
        ("torch", "m.pt", "could run code, so it was not loaded"),
        ("empty", "m.pt", "is damaged or not a .pt file"),
    ],
)
def test_a_file_that_is_no_model_is_refused_and_never_run(
    adm: Adm, tmp_path: Path, verb: str, kind: str, name: str, cure: str
) -> None:
    path, marker, out = tmp_path / name, tmp_path / "ran", tmp_path / "out"
    write_damaged(kind, path, marker)
    answer = adm(verb, path, *(("--out", out) if verb == "sample" else ()))
    assert cure in answer.refusal()
    assert str(path) in answer.err
    assert not marker.exists()
    assert not out.exists()


def test_a_folder_that_is_not_empty_is_not_sampled_into(
    adm: Adm, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    line = adm("sample", models / "model.safetensors", "--out", tmp_path).refusal()
    assert "exists and is not empty; choose another folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "is not empty and holds no run" in adm(*TRAIN, "--out", tmp_path).refusal()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_traceback_is_shown_on_request(adm: Adm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no recipe"):
        adm("recipes", "fashon")


ADVICE = {
    "a recipe in place of a model": (
        ("sample", "256x256-diffusion", "--out", "out"),
        "is a recipe and no model; give runs/256x256-diffusion after `adm train",
    ),
    "a recipe of images of one's own without them": (
        ("train", "photos", "--out", "out"),
        "photos trains on images of yours, and there is no 'photos' here; give --data FOLDER",
    ),
    "a web page named as a model": (
        ("sample", "page.pt", "--out", "out"),
        "page.pt is a web page, not a model; download the file that it shows",
    ),
    "an option of diffusers": (
        ("sample", "fashion", "--guidance-scale", 2, "--out", "out"),
        "Unknown option: --guidance-scale. It is called --scale here.",
    ),
}


@pytest.mark.parametrize("mistake", ADVICE)
def test_a_common_mistake_is_answered_with_the_next_step(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean").mkdir()
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    words, line = ADVICE[mistake]
    assert line in adm(*words).refusal()
    assert not (tmp_path / "out").exists()
