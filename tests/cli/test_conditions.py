"""adm train --condition, adm sample --condition -> a model of pairs, and its images."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from PIL import Image

import adm as package
from adm.data import open_source
from adm.spec import to_json

FEW = ("--steps", 3, "--device", "cpu")


def images(folder: Path, mode: str, side: int = 8) -> Path:
    for i in range(9):
        file = folder / f"{'train' if i < 6 else 'test'}/{tiny.CLASSES[i % 3]}/{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (side, side) if mode == "L" else (side, side, 3)
        levels = np.random.default_rng(i).integers(0, 256, shape, np.uint8)
        Image.fromarray(levels).save(file)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour images of 8x8, and grey conditions of another size."""
    place = tmp_path_factory.mktemp("pairs")
    images(place / "photos", "RGB")
    images(place / "edges", "L", 11)
    return place


@pytest.fixture
def run(adm: Adm, pairs: Path) -> Path:
    out, recipe = pairs / "run", pairs / "recipe.json"
    if out.exists():
        return out
    chosen = tiny.diffusion(
        *("data.channels=3", "unet.in_channels=3", "unet.out_channels=6"),
        *("watch.images=4", "watch.validation_images=4", "train.steps=2"),
    )
    recipe.write_text(json.dumps(to_json(chosen)))
    words = ("train", recipe, "--data", pairs / "photos", "--condition", pairs / "edges")
    answer = adm.done(*words, "--device", "cpu", "--out", out)
    assert "photos from edges: 6 images" in answer.out
    assert f"next, `adm sample {out} --condition IMAGES --out ...`" in answer.out
    with Image.open(next((out / "previews").iterdir())) as preview:
        assert preview.width > 4 * 96  # condition, raw weights, average, original
    return out


def test_conditions_are_cycled_and_set_the_class(
    adm: Adm, run: Path, pairs: Path, tmp_path: Path
) -> None:
    edges = pairs / "edges" / "test"
    words = ("sample", run, "--condition", edges, *FEW)
    adm.done(*words, "--out", tmp_path / "each")
    adm.done(*words, "--count", 7, "--out", tmp_path / "more")
    each, more = (dict(np.load(tmp_path / name / "samples.npz")) for name in ("each", "more"))
    assert each["arr_0"].shape == (3, 8, 8, 3)
    assert np.array_equal(more["arr_0"][:3], each["arr_0"])
    assert not np.array_equal(more["arr_0"][3:6], each["arr_0"])  # the same with other noise
    assert more["arr_1"].tolist() == [*each["arr_1"].tolist() * 2, each["arr_1"][0]]
    source = open_source(str(edges), size=(8, 8), channels=3)
    inputs = source.batch(range(3))[0]
    names = [source.classes[label] for label in source.labels.tolist()]
    samples = package.load(run, device="cpu").sample(names, inputs=inputs, steps=3)
    assert np.array_equal(samples.images.permute(0, 2, 3, 1).numpy(), each["arr_0"])
    adm.done(*words, "--classes", "bag:4", "--out", tmp_path / "bags")
    assert np.load(tmp_path / "bags" / "samples.npz")["arr_1"].tolist() == [1] * 4
    record = json.loads((tmp_path / "more" / "samples.json").read_text())["inputs"]
    assert (record["source"], record["shape"]) == (edges.name, [7, 3, 8, 8])


def test_what_is_missing_is_named(adm: Adm, run: Path, pairs: Path, tmp_path: Path) -> None:
    assert "`adm sample --condition`" in adm("sample", run, "--out", tmp_path / "no").refusal()
    train = ("train", pairs / "recipe.json", "--data", pairs / "photos", "--device", "cpu")
    line = adm(*train, "--out", run).refusal()  # resumed without its conditions
    assert "holds another run" in line
    (pairs / "edges/train/bag/4.png").rename(pairs / "edges/train/bag/44.png")
    words = (*train, "--condition", pairs / "edges", "--out", tmp_path / "new")
    assert "as for train/bag/4.png" in adm(*words).refusal()
    line = adm("doctor", run).refusal()
    assert "a diffusion model that takes no image of a pair" in line
