"""recipe, data -> recipe: channels and classes are those of the data unless they are set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from adm.app.runs import run
from adm.app.runs.data import DataOptions, choose, open_data
from adm.app.runs.folder import recipe_in
from adm.data.fitting import channels_of
from adm.data.registry import find
from adm.diffusion import EDM
from adm.recipes import DiffusionRecipe, build, recipe
from adm.recipes.following import describe_changes, following
from adm.recipes.schema import from_json, override
from adm.spec import SettingError, text, to_json


def folder(place: Path, mode: str, *, classes: int = 3, count: int = 4) -> Path:
    """A folder of PNG files of one mode, in `classes` sub-folders."""
    generator = np.random.default_rng(0)
    for label in range(classes):
        inner = place / f"class{label}" if classes > 1 else place
        inner.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = generator.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).convert(mode).save(inner / f"{i}.png")
    return place


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGBA", 3), ("P", 3), ("L", 1), ("LA", 1), ("1", 1)]
)
def test_channels_are_those_that_the_files_store(tmp_path: Path, mode: str, channels: int) -> None:
    assert channels_of(find(str(folder(tmp_path / "data", mode)))) == channels


def test_one_colour_image_among_grey_ones_makes_the_data_colour(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", "L", count=20)
    (place / "class2" / "19.png").unlink()
    Image.new("RGB", (40, 40), "red").save(place / "class2" / "19.png")
    assert channels_of(find(str(place))) == 3


def test_a_palette_of_greys_is_grey_and_a_broken_file_is_left_to_later(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", "L")
    picture = Image.open(place / "class0" / "0.png").convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(place / "class0" / "0.png")
    (place / "class0" / "1.png").write_bytes(b"no image")
    assert Image.open(place / "class0" / "0.png").mode == "P"
    assert channels_of(find(str(place))) == 1


@pytest.mark.parametrize("name", ["fashion", "fashion-classifier", "photos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_named_recipe_follows_the_data(name: str, channels: int) -> None:
    chosen = following(recipe(name), (), channels, 7)
    build.check(chosen)
    assert (chosen.data.channels, chosen.config.in_channels, chosen.config.classes) == (
        channels,
    ) * 2 + (7,)


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (["data.channels=1"], "unet.in_channels", 1),
        (["data.channels=1"], "unet.out_channels", 2),
        (["unet.classes=none"], "unet.classes", None),
        (["process.variance=fixed_small"], "unet.out_channels", 3),
    ],
)
def test_settings_stay_and_other_fields_follow_them(
    settings: list[str], field: str, value: Any
) -> None:
    start = override(recipe("photos"), settings)
    actual: Any = following(start, settings, 3, 7)
    build.check(actual)
    for part in field.split("."):
        actual = getattr(actual, part)
    assert actual == value


def test_a_classifier_s_size_follows_that_of_the_data() -> None:
    settings = ["data.size=64"]
    start = override(recipe("photos-classifier"), settings)
    chosen = following(start, settings)
    build.check(chosen)
    assert "classifier.size=64,64" in describe_changes(start, chosen)


def test_one_class_is_no_class_and_no_task_for_a_classifier() -> None:
    model, judge = recipe("photos"), recipe("photos-classifier")
    assert following(model, (), 3, 1).config.classes is None
    with pytest.raises(ValueError, match="two classes or more, and the data have one; put"):
        following(judge, (), 3, 1)
    unconditional = override(model, ["unet.classes=none"])
    assert following(unconditional, (), 3, 9).config.classes is None


def test_the_data_and_the_changes_are_reported(tmp_path: Path) -> None:
    colours = folder(tmp_path / "colours", "RGB")
    opened = open_data(choose("fashion"), DataOptions(data=str(colours)))
    assert opened.training.shape == (3, 28, 28)
    assert opened.notes == (
        "as in colours: data.channels=3 unet.in_channels=3 unet.out_channels=6 unet.classes=3",
    )
    grey = open_data(choose("fashion", ["data.channels=1"]), DataOptions(data=str(colours)))
    assert grey.training.shape == (1, 28, 28)
    assert "colour images, which are read as grey (data.channels=1)" in grey.notes[-1]
    plain = open_data(choose("photos"), DataOptions(data=str(folder(tmp_path / "grey", "L"))))
    assert plain.training.shape == (1, 32, 32)
    assert plain.recipe.config.in_channels == 1


def test_a_recipe_object_does_not_follow_the_data(tmp_path: Path) -> None:
    colours = folder(tmp_path / "colours", "RGB")
    opened = open_data(choose(tiny.diffusion()), DataOptions(data=str(colours)))
    assert opened.training.shape == (1, 8, 8)
    assert opened.recipe == tiny.diffusion()


def test_validation_images_are_read_as_the_training_images(tmp_path: Path) -> None:
    colours, grey = folder(tmp_path / "a", "RGB"), folder(tmp_path / "b", "L")
    options = DataOptions(data=str(colours), validation=str(grey))
    opened = open_data(choose("photos"), options)
    assert opened.validation is not None
    assert opened.validation.shape == (3, 32, 32)
    with pytest.raises(ValueError, match="hold_out"):
        DataOptions(validation="x", hold_out=0.1)


def test_the_deviation_of_the_data_is_measured_unless_it_is_set(tmp_path: Path) -> None:
    place = folder(tmp_path / "colours", "RGB")
    chosen = choose("photos", ["process.prediction=edm", "data.size=40"])
    opened = open_data(chosen, DataOptions(data=str(place)))
    pixels = opened.training.batch(range(12))[0] / 127.5 - 1
    assert isinstance(opened.recipe, DiffusionRecipe)
    measured = opened.recipe.process.prediction
    assert isinstance(measured, EDM)
    assert measured.sigma_data == pytest.approx(pixels.double().std(correction=0).item(), abs=5e-5)
    assert f"process.prediction={text(measured)}" in opened.notes[-1]
    explicit = choose("photos", ["process.prediction=edm:sigma_data=0.5", "data.size=40"])
    own = open_data(explicit, DataOptions(data=str(place))).recipe
    assert text(own.process.prediction) == "edm:sigma_data=0.5"  # type: ignore[union-attr]


def test_a_resumed_run_keeps_the_deviation_that_it_has_measured(tmp_path: Path) -> None:
    """Images may be added to the data of a run, if the change is accepted."""
    settings = ["process.prediction=edm", "train.steps=1", "train.batch_size=4", "data.size=8"]
    settings += ["unet.multipliers=1", "unet.attention_factors=1", "watch.images=0"]
    place, out = folder(tmp_path / "grey", "L"), tmp_path / "run"
    run.train("photos", out=out, data=place, settings=settings)
    first = recipe_in(out)
    Image.new("L", (40, 40), "white").save(place / "class0" / "9.png")
    settings[1] = "train.steps=2"
    accepting = run.TrainOptions(check_data="none")
    run.train("photos", out=out, data=place, settings=settings, options=accepting)
    again = recipe_in(out)
    assert isinstance(first, DiffusionRecipe)
    assert isinstance(again, DiffusionRecipe)
    assert first.process == again.process
    assert first.process.prediction != EDM()


def test_a_deviation_that_nobody_measured_is_refused() -> None:
    with pytest.raises(SettingError, match=r"such as edm:sigma_data=0\.5"):
        build.parameterization(tiny.diffusion("process.prediction=edm").process)


@pytest.mark.parametrize("target", ["noise", "x_0", "velocity", "previous_mean"])
def test_a_target_is_stored_by_its_name_as_it_was_before_targets_had_parameters(
    target: str,
) -> None:
    stored = to_json(tiny.diffusion(f"process.prediction={target}"))
    assert stored["process"]["prediction"] == target
    assert from_json(stored) == tiny.diffusion(f"process.prediction={target}")
