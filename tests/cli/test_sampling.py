"""adm sample by all guides, of upsamplers -> the folders of any diffusion model."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from samples import archive
from scoring.stubs import spots

from adm import load


def test_all_kinds_guide_at_once(adm: Adm, models: Path, tmp_path: Path) -> None:
    out, weak = tmp_path / "out", models / "always.safetensors"
    done = adm.done(
        *("sample", models / "model.safetensors", "--classifier", models / "guide.safetensors"),
        *("--guide", "classifier:scale=2", "--guide", "free:scale=2,interval=4-14"),
        *("--guide", "attention:scale=1", "--guide", "weak:scale=1.7", "--weak", weak),
        *("--classes", "all:1", "--out", out),
    )
    # Levels 1, 7, 14 and 20, two of which are in 4..14.
    assert "each image took 14 calls of the network and 4 of the classifier" in done.out
    manifest = json.loads((out / "samples.json").read_text())
    assert manifest["weak"]["recipe"] == "digits"
    names = [spec.partition(":")[0] for spec in manifest["sampling"]["guide"]]
    assert names == ["classifier", "free", "attention", "weak"]


def test_several_classifiers_guide_in_their_own_intervals(
    adm: Adm, models: Path, tmp_path: Path
) -> None:
    """`boots` has the weights of `guide`, and other classes; label 2 is the ankle boot, or boot."""
    model, guide, boots = (models / f"{name}.safetensors" for name in ("model", "guide", "boots"))
    both = ("sample", model, "--classifier", guide, "--classifier", boots, "--classes", "2:2")

    def sampled(name: str, *guides: str) -> np.ndarray:
        chosen = [word for guide in guides for word in ("--guide", guide)]
        adm.done(*both, *chosen, "--out", tmp_path / name)
        return arrays(tmp_path / name)["arr_0"].astype(int)

    other = "by=boots,classes=boot"
    one = sampled("one", "classifier:scale=6")
    added = sampled("added", "classifier:scale=2", f"classifier:scale=4,{other}")
    above = f"classifier:scale=6,interval=10-20,{other}"
    apart = sampled("apart", "classifier:scale=6,interval=1-9", above)
    plain = sampled("plain", "none")
    for images in (added, apart):
        assert abs(images - one).max() <= 1, "the same, to rounding"
    assert abs(plain - one).mean() > 3
    assert not np.array_equal(sampled("above", above), one)
    assert not np.array_equal(sampled("bag", "classifier:scale=6,by=boots,classes=bag"), one)
    manifest = json.loads((tmp_path / "added" / "samples.json").read_text())
    assert [each["file"] for each in manifest["classifier"]] == [guide.name, boots.name]
    for spec, message in (
        ("scale=1,by=other", "by of --guide must be the name of one of guide, boots, got 'other'"),
        (
            "scale=1,by=boots",
            "or name a class of its own, as in --guide classifier:scale=1,classes=NAME",
        ),
        (f"scale=1,{other}s", "there is no class 'boots'; did you mean boot"),
    ):
        words = (*both, "--guide", f"classifier:{spec}", "--out", tmp_path / "refused")
        assert message in adm(*words).refusal()


GUIDES = """
from pathlib import Path
from adm.guidance import through_denoiser

Path(__file__).with_suffix(".ran").touch()

def darker(schedule):
    return through_denoiser(lambda p, level: -(p.x_0 + 1).square().flatten(1).sum(1))

def flatter(schedule):
    return lambda x_t, level, p: -p.x_0
"""


def test_a_gradient_of_ones_own_guides_as_in_python(adm: Adm, models: Path, tmp_path: Path) -> None:
    (tmp_path / "guides.py").write_text(GUIDES)
    names = [f"{tmp_path}/guides.py:{name}" for name in ("darker", "flatter")]
    guides = ("attention:scale=1", "gradient:scale=2,interval=4-14,every=2,by=flatter")
    chosen = [word for name in names for word in ("--gradient", name)]
    chosen += [word for guide in guides for word in ("--guide", guide)]
    model, out = models / "model.safetensors", tmp_path / "out"
    adm.done("sample", model, *chosen, "--classes", "all:1", "--out", out)
    functions = runpy.run_path(str(tmp_path / "guides.py"))
    gradients = [functions["darker"], functions["flatter"]]
    images = load(model).sample("all:1", gradient=gradients, guide=[*guides]).images
    assert np.array_equal(arrays(out)["arr_0"], images.permute(0, 2, 3, 1).numpy())
    plain = load(model).sample("all:1", guide=guides[0]).images
    assert images.float().mean() < plain.float().mean() - 5
    manifest = json.loads((out / "samples.json").read_text())
    assert [*manifest["gradient"]] == names
    assert manifest["sampling"]["guide"] == [*guides, f"gradient:by={names[0]}"]


def test_no_stored_name_of_a_function_is_loaded(adm: Adm, models: Path, tmp_path: Path) -> None:
    """A model's recipe may say how a function guides, and only --gradient which one."""
    (tmp_path / "guides.py").write_text(GUIDES)
    name, model = f"{tmp_path}/guides.py:darker", tmp_path / "m.safetensors"
    tiny.model(model, tiny.diffusion(f"sample.guide=gradient:by={name}"))
    refused = adm("sample", model, "--out", tmp_path / "out").refusal()
    assert "--guide gradient needs --gradient: a function, as in --gradient guides.py" in refused
    other = adm("sample", model, "--gradient", "os:getcwd", "--out", tmp_path / "out").refusal()
    assert "by of --guide must be the name of one of getcwd, got" in other
    assert not (tmp_path / "guides.ran").exists()
    adm.done("sample", model, "--gradient", name, "--count", 1, "--out", tmp_path / "out")
    assert (tmp_path / "guides.ran").exists()
    for none in ("darker", "guides.py"):
        words = ("sample", model, "--gradient", none, "--out", tmp_path / "none")
        assert f"'{none}' names no function for a gradient" in adm(*words).refusal()


def test_an_upsampler_is_guided_by_its_attention(adm: Adm, models: Path, tmp_path: Path) -> None:
    archive(tmp_path / "small.npz", spots(4).batch(range(4))[0])
    words = ("sample", models / "up16.safetensors", "--condition", tmp_path / "small.npz")
    done = adm.done(*words, "--guide", "attention:scale=2", "--out", tmp_path / "out")
    assert "each image took 8 calls of the network" in done.out


STEPS = ("--steps", 3, "--sampler", "ddim")


def arrays(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "samples.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def low(adm: Adm, models: Path, tmp_path: Path) -> Path:
    out = tmp_path / "low"
    words = ("--classes", "bag:2,sneaker", "--seed", 7, *STEPS, "--out", out)
    adm.done("sample", models / "small.safetensors", *words)
    return out


def test_one_command_does_what_two_do(adm: Adm, models: Path, low: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    up = models / "up.safetensors"
    answer = adm.done("sample", up, "--condition", low, "--seed", 7, "--steps", 4, "--out", two)
    assert "3 images, samples.npz, samples.json" in answer.out
    words = ("--classes", "bag:2,sneaker", "--seed", 7, *STEPS, "--upsampler-steps", 4)
    answer = adm.done(
        "sample", models / "small.safetensors", *words, "--upsampler", up, "--out", one
    )
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
    adm.done("sample", models / "up.safetensors", *words)
    assert arrays(out)["arr_1"].tolist() == [2, 0]
    inputs = json.loads((out / "samples.json").read_text())["inputs"]
    assert inputs["source"] == "small.npz"
    assert inputs["shape"] == [2, 1, 4, 4]


def test_large_images_are_shrunk_on_request(adm: Adm, models: Path, tmp_path: Path) -> None:
    large = np.zeros((1, 8, 8, 1), np.uint8)
    large[0, 0, :2, 0] = 200  # half of the four pixels that become one
    np.savez(tmp_path / "large.npz", arr_0=large)
    words = ("sample", models / "up.safetensors", "--condition", tmp_path / "large.npz", *STEPS)
    refused = adm(*words, "--out", tmp_path / "out").refusal()
    assert "are 8x8, and the upsampler up starts from 4x4; give images of that" in refused
    adm.done(*words, "--shrink", "--out", tmp_path / "out")
    small = np.zeros((1, 4, 4, 1), np.uint8)
    small[0, 0, 0, 0] = 100
    np.savez(tmp_path / "small.npz", arr_0=small)
    words = ("sample", models / "up.safetensors", "--condition", tmp_path / "small.npz", *STEPS)
    adm.done(*words, "--out", tmp_path / "same")
    same, out = arrays(tmp_path / "same"), arrays(tmp_path / "out")
    assert np.array_equal(same["arr_0"], out["arr_0"])
