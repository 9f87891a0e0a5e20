"""adm sample --condition, --upsampler -> larger images, told the classes by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli.conftest import Adm

STEPS = ("--steps", 3, "--sampler", "ddim")


def arrays(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "samples.npz", allow_pickle=False) as held:
        return dict(held)


@pytest.fixture
def low(adm: Adm, models: Path, tmp_path: Path) -> Path:
    out = tmp_path / "low"
    words = ("--classes", "bag:2,sneaker", "--seed", 7, *STEPS, "--out", out)
    assert adm("sample", models / "small.safetensors", *words).status == 0
    return out


def test_one_command_does_what_two_do(adm: Adm, models: Path, low: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    up = models / "up.safetensors"
    answer = adm("sample", up, "--condition", low, "--seed", 7, "--steps", 4, "--out", two)
    assert answer.status == 0, answer.err
    assert "3 images, samples.npz, samples.json" in answer.out
    words = ("--classes", "bag:2,sneaker", "--seed", 7, *STEPS, "--upsampler-steps", 4)
    answer = adm("sample", models / "small.safetensors", *words, "--upsampler", up, "--out", one)
    assert answer.status == 0, answer.err
    for name, array in arrays(two).items():
        assert np.array_equal(arrays(one)[name], array)
    assert arrays(one)["arr_0"].shape == (3, 8, 8, 1)
    assert {path.name for path in two.glob("*.png")} == {path.name for path in low.glob("*.png")}


def test_numbers_in_an_archive_are_the_upsampler_s_own(
    adm: Adm, models: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    np.savez(tmp_path / "small.npz", arr_0=images, arr_1=np.array([2, 0, 1]))
    out = tmp_path / "out"
    words = ("--condition", tmp_path / "small.npz", *STEPS, "--count", 2, "--out", out)
    assert adm("sample", models / "up.safetensors", *words).status == 0
    assert arrays(out)["arr_1"].tolist() == [2, 0]
    held = json.loads((out / "samples.json").read_text())["inputs"]
    assert held["source"].endswith("small.npz")
    assert held["shape"] == [2, 1, 4, 4]


def test_large_images_are_shrunk_where_asked(adm: Adm, models: Path, tmp_path: Path) -> None:
    large = np.zeros((1, 8, 8, 1), np.uint8)
    large[0, 0, :2, 0] = 200  # half of the four pixels that become one
    np.savez(tmp_path / "large.npz", arr_0=large)
    words = ("sample", models / "up.safetensors", "--condition", tmp_path / "large.npz", *STEPS)
    refused = adm(*words, "--out", tmp_path / "out").refusal()
    up = models / "up.safetensors"
    assert f"images of 8x8 and the upsampler {up} starts from 4x4; give images of that" in refused
    assert adm(*words, "--shrink", "--out", tmp_path / "out").status == 0
    small = np.zeros((1, 4, 4, 1), np.uint8)
    small[0, 0, 0, 0] = 100
    np.savez(tmp_path / "small.npz", arr_0=small)
    words = ("sample", models / "up.safetensors", "--condition", tmp_path / "small.npz", *STEPS)
    assert adm(*words, "--out", tmp_path / "same").status == 0
    same, out = arrays(tmp_path / "same"), arrays(tmp_path / "out")
    assert np.array_equal(same["arr_0"], out["arr_0"])
