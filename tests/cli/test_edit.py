"""adm edit -> a sample folder of edits."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from PIL import Image
from samples import archive, contents

import adm as library

QUICK = ("--sampler", "ddim", "--steps", 4)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return archive(tmp_path / "data.npz", *tiny.stripes(6).batch(range(6)), tiny.CLASSES)


def test_the_command_writes_the_images_of_the_python_call(
    adm: Adm, models: Path, data: Path, tmp_path: Path
) -> None:
    words = ("edit", models / "model.safetensors", data, *QUICK, "--classes", "bag,sneaker")
    words = (*words, "--count", 4, "--samples", 2, "--edit", "noise:strength=0.6", "--seed", 3)
    adm.done(*words, "--out", tmp_path / "out")
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        actual = arrays["arr_0"]
    model, (images, _) = library.load(models / "model.safetensors"), tiny.stripes(6).batch(range(4))
    expected = model.edit(
        images, "noise:strength=0.6", "bag,sneaker", 2, sampler="ddim", steps=4, seed=3
    )
    assert np.array_equal(actual, expected.images.permute(0, 2, 3, 1).numpy())
    for part in ("2/2", "1/2"):
        adm.done(*words, "--part", part, "--out", tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "out")
    assert "is complete" in adm(*words, "--out", tmp_path / "out").out
    manifest = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert manifest["edit"] == "noise:strength=0.6"
    assert manifest["inputs"]["source"] == data.name


def test_images_of_another_size_are_resized_as_in_training(
    adm: Adm, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a", (20, 16)), ("b", (8, 8))):
        Image.new("RGB", size, "red").save(folder / f"{name}.png")
    words = ("edit", models / "model.safetensors", folder, *QUICK, "--out", tmp_path / "out")
    assert "2 images" in adm.done(*words).out
