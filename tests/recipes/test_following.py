"""recipe, data -> recipe: channels and classes are those of the data unless they are set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from adm.app.runs.data import DataOptions, choose, open_data
from adm.data.fitting import channels_of
from adm.data.registry import find
from adm.recipes import build, recipe
from adm.recipes.following import following, told
from adm.recipes.schema import override


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
    found = following(recipe(name), (), channels, 7)
    build.check(found)
    assert (found.data.channels, found.config.in_channels, found.config.classes) == (
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
def test_what_is_set_stays_and_the_rest_follows_it(
    settings: list[str], field: str, value: Any
) -> None:
    start = override(recipe("photos"), settings)
    found: Any = following(start, settings, 3, 7)
    build.check(found)
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_classifier_s_size_follows_that_of_the_data() -> None:
    settings = ["data.size=64"]
    start = override(recipe("photos-classifier"), settings)
    found = following(start, settings)
    build.check(found)
    assert "classifier.size=64,64" in told(start, found)


def test_one_class_is_no_class_and_no_task_for_a_classifier() -> None:
    model, judge = recipe("photos"), recipe("photos-classifier")
    assert following(model, (), 3, 1).config.classes is None
    with pytest.raises(ValueError, match="two classes or more, and the data have one; put"):
        following(judge, (), 3, 1)
    unconditional = override(model, ["unet.classes=none"])
    assert following(unconditional, (), 3, 9).config.classes is None


def test_the_data_and_the_changes_are_told(tmp_path: Path) -> None:
    colours = folder(tmp_path / "colours", "RGB")
    found = open_data(choose("fashion"), DataOptions(data=str(colours)))
    assert found.training.shape == (3, 28, 28)
    assert found.notes == (
        "as in colours: data.channels=3 unet.in_channels=3 unet.out_channels=6 unet.classes=3",
    )
    grey = open_data(choose("fashion", ["data.channels=1"]), DataOptions(data=str(colours)))
    assert grey.training.shape == (1, 28, 28)
    assert "colour images, which are read as grey (data.channels=1)" in grey.notes[-1]
    plain = open_data(choose("photos"), DataOptions(data=str(folder(tmp_path / "grey", "L"))))
    assert plain.training.shape == (1, 32, 32)
    assert plain.recipe.config.in_channels == 1


def test_a_recipe_that_is_not_given_by_name_is_taken_as_it_is(tmp_path: Path) -> None:
    colours = folder(tmp_path / "colours", "RGB")
    found = open_data(choose(tiny.diffusion()), DataOptions(data=str(colours)))
    assert found.training.shape == (1, 8, 8)
    assert found.recipe == tiny.diffusion()


def test_validation_images_are_read_as_the_training_images(tmp_path: Path) -> None:
    colours, grey = folder(tmp_path / "a", "RGB"), folder(tmp_path / "b", "L")
    options = DataOptions(data=str(colours), validation=str(grey))
    found = open_data(choose("photos"), options)
    assert found.validation is not None
    assert found.validation.shape == (3, 32, 32)
    with pytest.raises(ValueError, match="hold_out"):
        DataOptions(validation="x", hold_out=0.1)
