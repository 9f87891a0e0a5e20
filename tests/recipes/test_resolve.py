"""Recipe, Facts -> Recipe: what is set stays, and facts fill the rest."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from adm.data.fitting import channels_of
from adm.data.registry import find
from adm.diffusion import EDM
from adm.distillation import ConsistencyTuning
from adm.networks import HeadCount
from adm.processes import Devices
from adm.recipes import DiffusionRecipe, Recipe, build, recipe
from adm.recipes.resolve import Facts, describe_changes, resolve
from adm.recipes.schema import assignments, from_json, override
from adm.runs import run
from adm.runs.data import DataOptions, TrainingData, choose, known_facts, open_data
from adm.runs.folder import recipe_in
from adm.spec import SettingError, paths_of, text, to_json


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


def opened_for(
    chosen: str | Recipe, data: Path, *settings: str, validation: str | None = None
) -> TrainingData:
    """The data and the recipe of a new run."""
    choice = choose(chosen, settings)
    facts = known_facts(choice, data / "no-run", Devices(torch.device("cpu")))
    return open_data(choice, facts, DataOptions(data=str(data), validation=validation))


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


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    place = folder(tmp_path / "data", "L")
    picture = Image.open(place / "class0" / "0.png").convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(place / "class0" / "0.png")
    assert Image.open(place / "class0" / "0.png").mode == "P"
    assert channels_of(find(str(place))) == 1


@pytest.mark.parametrize("name", ["fashion", "fashion-classifier", "photos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_named_recipe_follows_the_data(name: str, channels: int) -> None:
    chosen = resolve(recipe(name), Facts(channels, 7))
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
    actual: Any = resolve(start, Facts(3, 7), assignments(settings))
    build.check(actual)
    for part in field.split("."):
        actual = getattr(actual, part)
    assert actual == value


def test_a_classifier_s_size_follows_that_of_the_data() -> None:
    start = override(recipe("photos-classifier"), ["data.size=64"])
    chosen = resolve(start, Facts(channels=3), ["data.size"])
    build.check(chosen)
    assert "classifier.size=64,64" in describe_changes(start, chosen)


def test_a_student_follows_its_teacher_but_for_what_is_set() -> None:
    settings = [
        "distillation.method=consistency",
        "data.source=mine",
        "data.flip=true",
        "unet.dropout=0.3",
        "unet.heads.heads=2",
    ]
    teacher, start = tiny.diffusion(), override(recipe("fashion-distilled"), settings)
    chosen = resolve(start, Facts(teacher=teacher), assignments(settings))
    assert isinstance(chosen, DiffusionRecipe)
    assert chosen.process == teacher.process
    assert chosen.data == replace(teacher.data, source="mine", flip=True)
    inputs = ConsistencyTuning.conditions
    assert chosen.unet == replace(teacher.unet, dropout=0.3, heads=HeadCount(2), conditions=inputs)
    assert isinstance(chosen.sample.sampler, ConsistencyTuning.sampler)


@pytest.mark.parametrize("name", ["photos", "photos-classifier", "fashion-distilled"])
def test_without_facts_a_recipe_is_as_it_was_and_all_of_them_change_it_once(name: str) -> None:
    start = recipe(name)
    assert resolve(start, Facts()) == start
    facts = Facts(1, 5, lambda: 0.4, precision="float32", teacher=tiny.diffusion())
    once = resolve(start, facts)
    assert once != start
    assert resolve(once, facts) == once
    assert resolve(start, facts, paths_of(start)) == start


def test_one_class_is_no_class_and_no_task_for_a_classifier() -> None:
    model, judge = recipe("photos"), recipe("photos-classifier")
    assert resolve(model, Facts(3, 1)).config.classes is None
    with pytest.raises(ValueError, match="two classes or more, and the data have one; put"):
        resolve(judge, Facts(3, 1))
    unconditional = override(model, ["unet.classes=none"])
    assert resolve(unconditional, Facts(3, 9)).config.classes is None


def test_the_data_and_the_changes_are_reported(tmp_path: Path) -> None:
    colours = folder(tmp_path / "colours", "RGB")
    opened = opened_for("fashion", colours)
    assert opened.training.shape == (3, 28, 28)
    assert opened.notes == (
        "as in colours: data.channels=3 unet.in_channels=3 unet.out_channels=6 unet.classes=3",
    )
    grey = opened_for("fashion", colours, "data.channels=1")
    assert grey.training.shape == (1, 28, 28)
    assert "colour images, which are read as grey (data.channels=1)" in grey.notes[-1]
    plain = opened_for("photos", folder(tmp_path / "grey", "L"))
    assert plain.training.shape == (1, 32, 32)
    assert plain.recipe.config.in_channels == 1


def test_a_recipe_object_follows_the_data_in_their_name_alone(tmp_path: Path) -> None:
    colours, own = folder(tmp_path / "colours", "RGB"), tiny.diffusion()
    opened = opened_for(own, colours)
    assert opened.training.shape == (1, 8, 8)
    assert opened.recipe == replace(own, data=replace(own.data, source="colours"))


def test_validation_images_are_read_as_the_training_images(tmp_path: Path) -> None:
    colours, grey = folder(tmp_path / "a", "RGB"), folder(tmp_path / "b", "L")
    opened = opened_for("photos", colours, validation=str(grey))
    assert opened.validation is not None
    assert opened.validation.shape == (3, 32, 32)
    with pytest.raises(ValueError, match="hold_out"):
        DataOptions(validation="x", hold_out=0.1)


def test_the_deviation_of_the_data_is_measured_unless_it_is_set(tmp_path: Path) -> None:
    place = folder(tmp_path / "colours", "RGB")
    opened = opened_for("photos", place, "process.prediction=edm", "data.size=40")
    pixels = opened.training.batch(range(12))[0] / 127.5 - 1
    assert isinstance(opened.recipe, DiffusionRecipe)
    measured = opened.recipe.process.prediction
    assert isinstance(measured, EDM)
    assert measured.sigma_data == pytest.approx(pixels.double().std(correction=0).item(), abs=5e-5)
    assert f"process.prediction={text(measured)}" in opened.notes[-1]
    explicit = ("process.prediction=edm:sigma_data=0.5", "data.size=40")
    own = opened_for("photos", place, *explicit).recipe
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
    with pytest.raises(SettingError, match=r"as in process.prediction=edm:sigma_data=0\.5"):
        build.parameterization(tiny.diffusion("process.prediction=edm").process)


@pytest.mark.parametrize("target", ["noise", "x_0", "velocity", "previous_mean"])
def test_a_target_is_stored_by_its_name_as_it_was_before_targets_had_parameters(
    target: str,
) -> None:
    stored = to_json(tiny.diffusion(f"process.prediction={target}"))
    assert stored["process"]["prediction"] == target
    assert from_json(stored) == tiny.diffusion(f"process.prediction={target}")
