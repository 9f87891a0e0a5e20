"""adm sample, upsample with --guide -> images by all guides at once, or one refusal."""

import json
from pathlib import Path

import pytest
import tiny
from cli.conftest import Adm
from evaluation.stubs import spots

from adm.store.arrays import write_npz

DROPPED = "train.label_dropout=0.1"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion(DROPPED))
    tiny.model(folder / "always.safetensors", tiny.diffusion("train.label_dropout=0"), seed=2)
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    tiny.model(folder / "larger.safetensors", tiny.diffusion("data.size=16,16"))
    tiny.model(folder / "guide.safetensors", tiny.classifier(), seed=1)
    tiny.model(folder / "up.safetensors", tiny.upsampler("data.size=16,16", "data.low_res=8,8"))
    return folder


@pytest.mark.parametrize(
    ("model", "options", "parts"),
    [
        ("model", "--guide weak:scale=1.7", ["--weak must be given"]),
        ("model", "--weak always.safetensors", ["--weak", "--guide weak"]),
        ("model", "--weak larger.safetensors --guide weak:scale=2", ["--weak", "images"]),
        ("unlabelled", "--guide free:scale=2", ["takes no labels"]),
        ("always", "--guide free:scale=2", ["label"]),
        ("model", "--guide attention:scale=2,interval=10-5", ["interval", "lower one first"]),
        ("model", "--guide fre:scale=2", ["--guide", "did you mean free"]),
        ("model", "--guide free:scale=2 --budget 1s", ["--budget", "guide"]),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    adm: Adm,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    options: str,
    parts: list[str],
) -> None:
    monkeypatch.chdir(files)
    out = tmp_path / "out"
    said = adm("sample", f"{model}.safetensors", *options.split(), "--out", out).refusal()
    assert all(part in said for part in parts), said
    assert not out.exists()


def test_all_kinds_guide_at_once(adm: Adm, files: Path, tmp_path: Path) -> None:
    out, weak = tmp_path / "out", files / "always.safetensors"
    done = adm(
        *("sample", files / "model.safetensors", "--classifier", files / "guide.safetensors"),
        *("--guide", "classifier:scale=2", "--guide", "free:scale=2,interval=4-14"),
        *("--guide", "attention:scale=1", "--guide", "weak:scale=1.7", "--weak", weak),
        *("--classes", "all:1", "--out", out),
    )
    assert done.status == 0, done.err
    # Levels 1, 7, 14 and 20, two of which are in 4..14.
    assert "each image took 14 calls of the network and 4 of the classifier" in done.out
    made = json.loads((out / "samples.json").read_text())
    assert made["weak"]["recipe"] == "digits"
    names = [spec.partition(":")[0] for spec in made["sampling"]["guide"]]
    assert names == ["classifier", "free", "attention", "weak"]


def test_an_upsampler_is_guided_by_its_attention(adm: Adm, files: Path, tmp_path: Path) -> None:
    images, _ = spots(4).batch(range(4))
    write_npz(tmp_path / "small.npz", {"arr_0": images.permute(0, 2, 3, 1).numpy()})
    words = ("upsample", files / "up.safetensors", tmp_path / "small.npz")
    done = adm(*words, "--guide", "attention:scale=2", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "each image took 8 calls of the network" in done.out
