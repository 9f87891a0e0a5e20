"""adm sample, upsample, sweep with guidance that needs no classifier -> images, or one refusal."""

import json
from pathlib import Path

import pytest
import tiny
from cli.conftest import Adm
from evaluation.stubs import spots

from adm.generation.generator import identity
from adm.models.load import load_diffusion
from adm.store.arrays import write_npz

DROPPED = "train.label_dropout=0.1"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion(DROPPED))
    tiny.model(folder / "always.safetensors", tiny.diffusion("train.label_dropout=0"), seed=2)
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    tiny.model(folder / "larger.safetensors", tiny.diffusion("data.size=16,16"))
    tiny.model(folder / "longer.safetensors", tiny.diffusion("process.steps=25"))
    tiny.model(folder / "guide.safetensors", tiny.classifier(), seed=1)
    tiny.model(folder / "up.safetensors", tiny.upsampler("data.size=16,16", "data.low_res=8,8"))
    return folder


REFUSALS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "no weak model": (
        "model",
        ("--weak-scale", "1.7"),
        ("weak_scale 1.7 needs a weak model; pass --weak, such as an earlier checkpoint",),
    ),
    "no weak scale": (
        "model",
        ("--weak", "always.safetensors"),
        ("--weak needs a scale; pass --weak-scale, such as 1.5",),
    ),
    "a classifier as the weak model": (
        "model",
        ("--weak", "guide.safetensors", "--weak-scale", "2"),
        ("guide.safetensors is a classifier; give a diffusion model",),
    ),
    "a weak model of other images": (
        "model",
        ("--weak", "larger.safetensors", "--weak-scale", "2"),
        ("larger.safetensors has images of (1, 16, 16) and the model has (1, 8, 8); pass --weak",),
    ),
    "a weak model of another process": (
        "model",
        ("--weak", "longer.safetensors", "--weak-scale", "2"),
        ("longer.safetensors has T = 25 and the model has 20; pass --weak of the same data",),
    ),
    "a model without labels": (
        "unlabelled",
        ("--free-scale", "2"),
        ("takes no labels, and --free-scale guides away from the model without the label; leave",),
    ),
    "a model trained with all labels": (
        "always",
        ("--free-scale", "2"),
        ("trained without label dropout", "leave --free-scale out, or train with train.label_dro"),
    ),
    "a label that is not told": (
        "model",
        ("--free-scale", "2", "--without-label"),
        ("--free-scale needs the label that --without-label withholds; leave one of them out",),
    ),
    "a negative interval": (
        "model",
        ("--attention-scale", "2", "--attention-interval=-5,10"),
        ("must be two levels, the lower one first, got -5 and 10; give them as in 100,700",),
    ),
    "an interval beyond T": (
        "model",
        ("--free-scale", "2", "--free-interval", "5,21"),
        ("must be within levels 0..20 of the model's process, got 5 and 21",),
    ),
    "an interval of one level": (
        "model",
        ("--free-scale", "2", "--free-interval", "5"),
        ("free_interval lacks a value",),
    ),
    "an interval without a scale": (
        "model",
        ("--attention-interval", "5,9"),
        ("attention_interval needs a scale; pass a --attention-scale other than 0",),
    ),
    "no number": ("model", ("--free-scale", "nan"), ("--free-scale: expected a finite number",)),
    "a budget": (
        "model",
        ("--free-scale", "2", "--budget", "1s"),
        ("--budget chooses the settings, --free-scale included; leave one of the two out",),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_sampled_is_refused(
    adm: Adm, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    model, options, wanted = REFUSALS[what]
    monkeypatch.chdir(files)
    out = tmp_path / "out"
    said = adm("sample", f"{model}.safetensors", *options, "--out", out).refusal()
    assert all(part in said for part in wanted), said
    assert not out.exists()


def test_all_of_them_and_a_classifier_guide_at_once(adm: Adm, files: Path, tmp_path: Path) -> None:
    out, weak = tmp_path / "out", files / "always.safetensors"
    done = adm(
        *("sample", files / "model.safetensors", "--classifier", files / "guide.safetensors"),
        *("--scale", "2", "--free-scale", "2", "--free-interval", "4,14", "--weak", weak),
        *("--weak-scale", "1.7", "--attention-scale", "1", "--classes", "all:1", "--out", out),
    )
    assert done.status == 0, done.err
    # Levels 1, 7, 14 and 20, two of which are in 4..14.
    assert "each image took 14 calls of the network and 4 of the classifier" in done.out
    made = json.loads((out / "samples.json").read_text())
    assert made["weak"] == identity(load_diffusion(weak))
    names = [term["name"] for term in made["sampling"]["guidance"]]
    assert names == ["classifier", "free", "weak", "attention"]


def test_an_upsampler_is_guided_by_its_attention(adm: Adm, files: Path, tmp_path: Path) -> None:
    images, _ = spots(4).batch(range(4))
    write_npz(tmp_path / "small.npz", {"arr_0": images.permute(0, 2, 3, 1).numpy()})
    words = ("upsample", files / "up.safetensors", tmp_path / "small.npz")
    done = adm(*words, "--attention-scale", "2", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert "each image took 8 calls of the network" in done.out


@pytest.fixture
def sweep(adm: Adm, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Options -> the answer of a sweep of 6 images a point into `out`."""
    images, labels = spots(20).batch(range(20))
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy(), "arr_1": labels.numpy()}
    write_npz(tmp_path / "real.npz", arrays)
    (tmp_path / "rows.py").write_text(
        "def rows(images):\n    return images.float().mean(dim=(1, 3))\n\nrows.name = 'rows'\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("--reference", "real.npz", "--features", "rows.py:rows", "--steps", "3", "--count", 6)
    return lambda *options: adm(
        "sweep", files / "model.safetensors", *words, "--out", "out", *options
    )


def test_a_sweep_varies_any_of_the_scales(sweep, files: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weak = files / "always.safetensors"
    options = ("--weak", weak, "--axis", "weak-scale", "--scales", "1,2", "--weak-interval", "1,9")
    done = sweep(*options, "--free-scale", "1.5")
    assert done.status == 0, done.err
    samples = tmp_path / "out" / "samples"
    assert sorted(each.name for each in samples.iterdir()) == [
        "ddim-3-weak-scale1",
        "ddim-3-weak-scale2",
    ]
    plain, guided = (
        json.loads((each / "samples.json").read_text()) for each in sorted(samples.iterdir())
    )
    free = {"scale": 1.5, "interval": None, "name": "free"}
    assert plain["sampling"]["guidance"] == [free]
    assert guided["sampling"]["guidance"] == [
        free,
        free | {"scale": 2.0, "interval": [1, 9], "name": "weak"},
    ]
    assert "weak" not in plain
    assert guided["weak"]["sha256"] == identity(load_diffusion(weak))["sha256"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [point["scale"] for point in report["points"]] == [1, 2]
    assert [point["calls_per_image"]["network"] for point in report["points"]] == [6, 7]
    assert report["manifest"]["weak"] == guided["weak"]
    assert report["manifest"]["sampling"]["weak_scale"] == [1, 2]
    table = (tmp_path / "out" / "report.md").read_text()
    assert "| weak scale | network calls |" in table
    assert "scores by weak scale" in table


def test_a_sweep_has_scales_of_its_own_for_each_guidance(sweep, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert sweep("--axis", "attention-scale", "--samplers", "ddim").status == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [point["scale"] for point in report["points"]] == [0, 0.5, 1, 2, 4]


def test_a_sweep_refuses_two_values_of_what_it_varies(sweep, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    said = sweep("--axis", "free-scale", "--free-scale", "2").refusal()
    assert "the scales are those of --free-scale; give them as --scales only" in said
    assert (
        "weak_scale 1.25 needs a weak model; pass --weak" in sweep("--axis", "weak-scale").refusal()
    )
    assert "free-scale" in sweep("--axis", "free").refusal()
    assert not (tmp_path / "out").exists()
