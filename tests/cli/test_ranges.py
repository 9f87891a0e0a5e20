"""Images of 16 bits and of floats: from the files that are read to the samples that are written."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from PIL import Image
from scoring.stubs import blocks

import adm as front
from adm.data import open_source
from adm.scoring import make_reference
from adm.spec import SettingError, to_json

LEVELS = np.random.default_rng(0).integers(0, 65536, (12, 8, 8)).astype(np.uint16)
LEVELS[0, 0, :2] = 0, 65535
HOUNSFIELD = "float:low=-1000,high=3000"
SETTINGS = ("train.steps=2", "watch.images=2", "watch.validation_images=0", "unet.classes=null")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16-bit files, an array of its values, and one of floats."""
    place = tmp_path_factory.mktemp("data")
    (place / "scans").mkdir()
    for number, image in enumerate(LEVELS):
        Image.fromarray(image).save(place / "scans" / f"{number}.{('png', 'tiff')[number % 2]}")
    np.save(place / "levels.npy", LEVELS)
    np.save(place / "floats.npy", LEVELS / 65535 * 4000 - 1000)
    Image.fromarray(np.float32(LEVELS[0] / 65535)).save(place / "one.tiff")
    return place


@pytest.fixture(scope="module")
def runs(data: Path) -> Path:
    """Runs on the files and on the floats."""
    for name, given, stored in (("scans", "scans", "uint16"), ("ct", "floats.npy", HOUNSFIELD)):
        settings = (*SETTINGS, f"data.range={stored}")
        recipe = tiny.diffusion(*SETTINGS)
        where = {"data": data / given, "device": "cpu", "out": data / "runs" / name}
        front.train(recipe, settings=settings, on_progress=lambda step: None, **where)
    return data / "runs"


@pytest.mark.parametrize("given", ["scans", "levels.npy"])
def test_files_and_arrays_are_read_with_all_their_levels(data: Path, given: str) -> None:
    source = open_source(str(data / given), range="uint16")
    images, _ = source.batch(range(len(source)))
    assert np.array_equal(source.range.write(images)[:, 0], LEVELS)
    low, high = images.min(), images.max()
    assert (low, high) == (-1, 1)


def test_resized_images_stay_within_the_range_and_padding_is_black(data: Path) -> None:
    smaller = open_source(str(data / "scans"), range="uint16", size=(5, 5)).read(0)
    assert smaller.shape == (1, 5, 5)
    assert float(smaller.abs().max()) <= 1
    padded = open_source(str(data / "floats.npy"), range=HOUNSFIELD, size=(10, 8)).read(0)
    assert (padded[:, [0, -1]] == -1).all()


def test_a_tiff_of_floats_is_read_by_its_range(data: Path) -> None:
    source = open_source(str(data / "one.tiff"), range="float:low=0,high=1")
    assert np.allclose(source.range.write(source.read(0))[0], LEVELS[0] / 65535, atol=1e-7)


def test_the_command_trains_on_16_bits_and_writes_samples_of_16_bits(
    adm: Adm, data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(to_json(tiny.diffusion(*SETTINGS))))
    device = ("--device", "cpu")
    words = ("train", recipe, "--data", data / "scans", *device)
    rounded = adm.done(*words, "--out", tmp_path / "rounded")
    assert "scans has 16 bits, which are rounded to 8; see data.range" in rounded.out + rounded.err
    adm.done(*words, "--set", "data.range=uint16", "--out", tmp_path / "run")
    sample = ("sample", tmp_path / "run", "--count", 3, *device)
    adm.done(*sample, "--out", tmp_path / "out")
    values = np.load(tmp_path / "out" / "samples.npz")["arr_0"]
    assert (values.dtype, values.shape) == (np.uint16, (3, 8, 8, 1))
    assert len(np.unique(values % 257)) > 20  # not the 256 levels of 8 bits
    for number, file in enumerate(sorted((tmp_path / "out").glob("*_seed0_*.png"))):
        with Image.open(file) as picture:
            assert picture.mode == "I;16"
            assert np.array_equal(np.asarray(picture), values[number, ..., 0])
    # The folder is taken as the images that it holds: by an edit, and by training.
    source = open_source(str(tmp_path / "out"), range="uint16")
    assert np.array_equal(source.range.write(source.batch(range(3))[0])[:, 0], values[..., 0])
    edit = ("edit", tmp_path / "run", tmp_path / "out", "--edit", "noise:strength=0.001", *device)
    adm.done(*edit, "--steps", 2, "--out", tmp_path / "edits")
    edited = np.load(tmp_path / "edits" / "samples.npz")["arr_0"]
    assert edited.dtype == np.uint16


def test_python_samples_floats_in_the_range_of_the_data(runs: Path, tmp_path: Path) -> None:
    model = front.load(runs / "ct", device="cpu")
    samples = model.sample(count=3, steps=2)
    assert (samples.values.dtype, samples.values.shape) == (np.float32, (3, 8, 8, 1))
    assert samples.values.min() >= -1000
    assert samples.values.max() <= 3000
    assert samples.values.max() > 255
    assert samples.pil[0].mode == "L"  # pictures are of 8 bits
    folder = samples.save(tmp_path / "out")
    with np.load(folder / "samples.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], samples.values)
    assert not list(folder.glob("*_seed0_*"))
    one, other, third = (
        model.edit(given, "noise:strength=0.5", steps=3, sampler="ddim").values
        for given in (samples, samples.values, str(folder))
    )
    assert np.array_equal(one, other)
    assert np.array_equal(one, third)


def test_scores_are_those_of_the_images_rounded_to_8_bits(
    runs: Path, data: Path, tmp_path: Path
) -> None:
    samples = front.load(runs / "ct", device="cpu").sample(count=4, steps=2)
    rounded = np.rint((samples.values.astype(float) + 1000) / 4000 * 255).astype(np.uint8)
    np.save(tmp_path / "samples.npy", rounded)
    np.save(tmp_path / "data.npy", np.rint(LEVELS / 257).astype(np.uint8))
    folder = samples.save(tmp_path / "out")
    reports = [
        front.evaluate(one, str(other), features=blocks())
        for one, other in (
            (str(folder), data / "floats.npy"),
            (samples, data / "floats.npy"),
            (str(tmp_path / "samples.npy"), tmp_path / "data.npy"),
        )
    ]
    assert reports[0].scores == reports[1].scores == reports[2].scores
    reference = make_reference(open_source(str(tmp_path / "data.npy")), blocks())
    reference.save(tmp_path / "reference.npz")
    with pytest.raises(SettingError, match="give the images of the reference"):
        front.evaluate(str(folder), str(tmp_path / "reference.npz"), features=blocks())


@pytest.mark.parametrize(
    ("given", "stored", "message"),
    [
        ("levels.npy", "uint8", r"uint16 values from 0 to 65535.*is uint8.*data.range=uint16"),
        ("one.tiff", "uint8", r"unknown range; save it with 8 or 16 bits.*data.range=float"),
        ("levels.npy", "uint16:high=4095", r"values from 0 to 65535.*0 to 4095.*state the range"),
        ("scans", "uint16:high=4095", r"0\.png .*values from 0 to 65535.*state the range"),
        ("floats.npy", "float:low=0,high=1", r"from -1000 to .*data.range is float from 0 to 1"),
        ("grey.png", "uint16", r"grey\.png .*uint8 values.*is uint16.*convert them"),
    ],
)
def test_values_of_another_range_are_refused_with_the_cure(
    data: Path, given: str, stored: str, message: str
) -> None:
    Image.new("L", (8, 8), 7).save(data / "grey.png")
    with pytest.raises(ValueError, match=message):
        open_source(str(data / given), range=stored).read(0)


def test_what_counts_8_bits_refuses_other_models(adm: Adm, runs: Path, data: Path) -> None:
    words = ("likelihood", runs / "scans", data / "scans", "--count", 2, "--device", "cpu")
    assert "data.range=uint8" in adm(*words, "--out", data / "bits").refusal()
    words = ("train", "digits", "--set", "data.range=uint16", "--out", data / "digits")
    assert "data.range is uint16" in adm(*words).refusal()
    words = ("train", "digits", "--set", "data.range=float:low=1,high=0", "--out", data / "digits")
    assert "--set data.range.high must be above low=1" in adm(*words).refusal()
