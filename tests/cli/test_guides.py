"""adm sample, upsample with --guide -> images by all guides at once, or one refusal."""

import json
from pathlib import Path

from cli.conftest import Adm
from evaluation.stubs import spots

from adm.store.arrays import write_npz


def test_all_kinds_guide_at_once(adm: Adm, models: Path, tmp_path: Path) -> None:
    out, weak = tmp_path / "out", models / "always.safetensors"
    done = adm(
        *("sample", models / "model.safetensors", "--classifier", models / "guide.safetensors"),
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


def test_an_upsampler_is_guided_by_its_attention(adm: Adm, models: Path, tmp_path: Path) -> None:
    images, _ = spots(4).batch(range(4))
    write_npz(tmp_path / "small.npz", {"arr_0": images.permute(0, 2, 3, 1).numpy()})
    words = ("sample", models / "up16.safetensors", "--condition", tmp_path / "small.npz")
    done = adm(*words, "--guide", "attention:scale=2", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "each image took 8 calls of the network" in done.out
