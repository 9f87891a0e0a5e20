"""adm restore -> sample folder, maps, scores and picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from PIL import Image

from adm.data.folder import image_folder

STEPS = ("--method", "ddnm", "--steps", 3)
PHASE = ("--operator", "phase", "--method", "dps")
BOX = ("--operator", "inpaint:box=2-2-4-4")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.npz"
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    np.savez(path, arr_0=images)
    return path


def test_one_image_has_no_interval(adm: Adm, models: Path, truth: Path, tmp_path: Path) -> None:
    words = ("--truth", truth, "--count", 1, *BOX, *STEPS, "--out", tmp_path / "out")
    answer = adm.done("restore", models / "model.safetensors", *words)
    assert ": 1 image, samples.npz" in answer.out
    assert " to " not in next(line for line in answer.out.splitlines() if "samples: PSNR" in line)


def test_truth_is_measured_restored_and_scored(
    adm: Adm, models: Path, truth: Path, tmp_path: Path
) -> None:
    (tmp_path / "pixels.py").write_text("def flat(x):\n    return x.flatten(1).float() + 1\n")
    words = ("--truth", truth, *BOX, *STEPS, "--samples", 2)
    words = (*words, "--features", f"{tmp_path}/pixels.py:flat")
    out = tmp_path / "out"
    for message in ("6 images, samples.npz", "is complete: it holds these images"):
        answer = adm.done("restore", models / "model.safetensors", *words, "--out", out)
        assert message in answer.out
        assert "samples: PSNR" in answer.out
    report = json.loads((out / "restored.json").read_text())
    assert report["scores"].keys() == {"samples", "mean", "baseline"}
    assert report["restoration"]["operator"] == "inpaint:box=2-2-4-4"
    scores = report["scores"]["samples"]
    assert scores["PSNR"]["low"] <= scores["PSNR"]["value"] <= scores["PSNR"]["high"]
    with np.load(out / "restored.npz") as maps:
        assert maps["mean"].shape == maps["deviation"].shape == (3, 1, 8, 8)
        assert maps["deviation"][:, :, 0].max() == 0
        assert maps["deviation"][:, :, 2:6, 2:6].max() > 0
    Image.open(out / "restored.png").verify()
    assert len(image_folder(out).source("train", None)) == 6, (
        "pictures of the folder are no samples"
    )


def test_measured_pixels_are_restored_unchanged(
    adm: Adm, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    holes = tmp_path / "holes"
    holes.mkdir()
    Image.fromarray(image).save(holes / "hole.png")
    monkeypatch.chdir(holes)
    mask = np.full((8, 8), 255, np.uint8)
    mask[:, 4:] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ("--operator", f"inpaint:mask={tmp_path}/mask.png", *STEPS, "--out", tmp_path / "out")
    adm.done("restore", models / "model.safetensors", ".", *words)
    manifest = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert manifest["inputs"]["source"] == "holes"
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        restored = arrays["arr_0"][0, :, :, 0]
    assert np.array_equal(restored[:, :4], image[:, :4])
    assert not np.array_equal(restored[:, 4:], image[:, 4:])


def test_measurements_that_cannot_be_are_refused(
    adm: Adm, models: Path, truth: Path, tmp_path: Path
) -> None:
    model, out = models / "model.safetensors", ("--out", tmp_path / "out")
    Image.new("L", (6, 6)).save(tmp_path / "small.png")
    np.save(tmp_path / "nan.npy", np.full((1, 1, 8, 8), np.nan))
    np.save(tmp_path / "none.npy", np.zeros((0, 1, 8, 8)))
    (tmp_path / "camera.py").write_text(
        "import torch\n\ndef spectrum(x):\n    return torch.fft.fft2(x)\n\n"
        "def cut(x):\n    return x.detach()\n\ndef exits(x):\n    raise SystemExit(7)\n"
    )
    mine = ("--truth", truth, "--operator")
    mask = f"inpaint:mask={tmp_path}/small.png"
    for words, message in (
        ((*BOX,), "there is nothing to restore; give IMAGES or --truth"),
        (
            (tmp_path / "small.png", *BOX),
            "IMAGES has the shape (1, 6, 6), and --operator leaves (1, 8, 8)",
        ),
        ((tmp_path / "nan.npy", *BOX), "IMAGES holds numbers that are not finite"),
        ((tmp_path / "none.npy", *BOX), "IMAGES has no measurements; give at least one"),
        ((*mine, f"{tmp_path}/camera.py:spectrum"), "spectrum returns complex64 (2, 1, 8, 8)"),
        ((*mine, f"{tmp_path}/camera.py:cut"), "cut cannot be differentiated"),
        ((*mine, f"{tmp_path}/camera.py:exits"), "SystemExit: 7"),
        (("--truth", truth, "--operator", mask), "must be a picture of 8x8, got '6x6'"),
        (("--truth", truth, "--operator", "phase", "--method", "ddnm"), "one of dps, daps"),
        (
            (tmp_path / "small.png", *PHASE),
            "IMAGES has the shape (1, 6, 6), and --operator leaves (1, 16, 16)",
        ),
    ):
        assert message in adm("restore", model, *words, *out).refusal(), words
