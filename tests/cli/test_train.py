"""adm train, as its user sees it: messages, refusals and recoveries."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm
from PIL import Image
from samples import contents

from adm.models.identity import identify
from adm.spec import to_json
from adm.training import checkpoint

SETTINGS = ("train.steps=4", "watch.images=0", "watch.validation_images=8")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The start of a command: a tiny recipe in a file, on its own data."""
    return [
        "train",
        write_recipe(tmp_path, *SETTINGS),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "run"),
    ]


def write_recipe(folder: Path, *settings: str) -> str:
    path = folder / "recipe.json"
    path.write_text(json.dumps(to_json(tiny.diffusion(*settings))))
    return str(path)


def test_a_student_is_trained_and_sampled(adm: Adm, tmp_path: Path) -> None:
    classes = tuple(sorted(tiny.CLASSES))  # those of the folders
    teacher = tiny.model(tmp_path / "d.safetensors", tiny.diffusion(*SETTINGS), classes)
    guide = tiny.model(tmp_path / "c.safetensors", tiny.classifier(), classes, seed=1)
    weak = tiny.model(tmp_path / "w.safetensors", tiny.diffusion(*SETTINGS), classes, seed=2)
    recipe = tmp_path / "student.json"
    recipe.write_text(json.dumps(to_json(tiny.student(*SETTINGS))))
    photographs(tmp_path / "data", 12)
    run = ("--teacher", teacher, "--teacher-classifier", guide, "--teacher-weak", weak)
    data = ("--data", tmp_path / "data", "--device", "cpu", "--out", tmp_path / "run")
    settings = ("data.channels=1", "distillation.weak_scale=1.5")
    adm.done("train", recipe, *run, *data, "--set", *settings)
    shown = adm("info", tmp_path / "run")
    assert "by trajectory distillation, for scales 0 to 4" in shown.out
    for path in (teacher, guide, weak):
        assert f"sha256 {identify(path)[:12]}" in shown.out
    answer = adm.done(
        *("sample", tmp_path / "run", "--steps", "1", "--scale", "2", "--classes", "all:1"),
        *("--device", "cpu", "--out", tmp_path / "out"),
    )
    assert "each image took 1 call of the network" in answer.out
    refused = adm("sample", tmp_path / "run", "--steps", "3", "--out", tmp_path / "other")
    assert refused.status != 0
    assert "--steps must be 1 or 2 or 4, got 3" in refused.err
    alone = adm("train", recipe, "--teacher-classifier", guide, "--out", tmp_path / "other")
    assert "--teacher-classifier needs --teacher, which it guides" in alone.err


def photographs(folder: Path, count: int, size: int = 8) -> list[Path]:
    """JPEG files of three classes, in folders."""
    generator, paths = np.random.default_rng(0), []
    for i in range(count):
        place = folder / tiny.CLASSES[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (size, size), np.uint8)
        paths.append(place / f"{i}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def test_a_run_names_the_data_that_it_was_trained_on(
    adm: Adm, words: list[str], tmp_path: Path
) -> None:
    photographs(tmp_path / "mine", 12)
    data = ("--data", tmp_path / "mine", "--set", "data.channels=1", "unet.classes=null")
    plan = adm.done(*words, *data, "--dry-run")
    assert len(plan.out.splitlines()) < 10
    assert "mine: 12 images" in plan.out
    whole = json.loads(adm.done(*words, *data, "--dry-run", "--json").out)
    assert not (tmp_path / "run").exists()
    adm.done(*words, *data)
    stored = json.loads(adm.done("info", tmp_path / "run", "--json").out)["recipe"]
    assert stored["data"]["source"] == whole["data"]["source"] == "mine"
    assert adm("doctor", tmp_path / "run").err.strip().endswith("as --data: 'mine'")


def test_validation_is_measured_and_the_best_is_named(
    adm: Adm, tmp_path: Path, words: list[str]
) -> None:
    photographs(tmp_path / "data", 30)
    answer = adm(*words, "--data", tmp_path / "data", "--hold-out", 0.3)
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert {"validation/loss", "validation/loss_q1", "validation/loss_q4"} < last.keys()
    assert f"best validation: {checkpoint.best(tmp_path / 'run')}" in answer.out


def test_a_broken_test_split_is_not_an_absent_one(
    adm: Adm, tmp_path: Path, words: list[str]
) -> None:
    photographs(tmp_path / "data" / "train", 12)
    photographs(tmp_path / "data" / "test", 3)[0].write_bytes(b"no JPEG")
    command = (*words, "--data", tmp_path / "data")
    assert "0.jpg is not a PNG, JPEG" in adm(*command).refusal()


def test_validation_data_of_other_classes_are_distinguished_from_a_wrong_recipe(
    adm: Adm, tmp_path: Path, words: list[str]
) -> None:
    photographs(tmp_path / "data", 12)
    photographs(tmp_path / "other", 2)
    message = adm(*words, "--data", tmp_path / "data", "--validation", tmp_path / "other").refusal()
    assert "validate on data of the same classes" in message


def test_a_run_starts_from_another_with_its_classes_by_name(
    adm: Adm, tmp_path: Path, words: list[str]
) -> None:
    photographs(tmp_path / "data", 30)
    data = ("--data", tmp_path / "data", "--device", "cpu")
    adm(*words, *data[:2])
    again = ("train", words[1], "--out", tmp_path / "next", *data)
    answer = adm(*again, "--pretrained", tmp_path / "run")
    assert "classes kept: ankle boot, bag, sneaker" in answer.err
    described = json.loads((tmp_path / "next/run.json").read_text())
    assert described["start"]["given"] == str(tmp_path / "run")
    stored = json.loads(adm("info", tmp_path / "next", "--json").out)["start"]
    assert stored == described["start"] | {"renamed": None}
    before = described["start"]["sha256"][:12]
    assert re.search(rf"starting from .*steps, sha256 {before}", adm("info", tmp_path / "next").out)
    adm.done(*again, "--pretrained", tmp_path / "run")  # nothing is left to do
    assert "it started from" in adm(*again).refusal()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--micro-batch", "0"], "--micro-batch takes a positive number, or auto"),
        (
            ["--pretrained", "fashion", "--rename", "bag"],
            "takes the old name and the new one: --rename old=new",
        ),
        (
            ["--set", "sample.grid.start=null", "sample.grid.steps=21"],
            "sample.grid.steps must be in 2..20, got 21",
        ),
        (
            ["--hold-out", "0.2", "--validation", "digits"],
            "--hold-out and --validation exclude each other",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused_with_the_cure(
    adm: Adm, tmp_path: Path, words: list[str], options: list[str], message: str
) -> None:
    photographs(tmp_path / "data", 12)
    assert message in adm(*words, "--data", tmp_path / "data", *options).refusal()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--set", "train.steps=4", "train.learning_rate=0.5"), "learning_rate is 0.01 there"),
        (("--steps", 6), "the size of an image has changed"),
        (("--pretrained", "run", "--steps", 6), "it started from nothing, not run"),
    ],
)
def test_what_is_refused_changes_nothing_on_the_disk(
    adm: Adm, tmp_path: Path, words: list[str], change: tuple[object, ...], message: str
) -> None:
    paths = photographs(tmp_path / "data", 12)
    words = [*words, "--data", str(tmp_path / "data")]
    adm.done(*words, "--set", "train.save_every_steps=2")
    moments = tmp_path / "run/checkpoints/step-0000004/optimizer.safetensors"
    moments.write_bytes(moments.read_bytes()[:-1])
    if "size of an image" in message:
        paths[3].write_bytes(paths[3].read_bytes() + b"?")
    before = contents(tmp_path / "run")
    assert message in adm(*words, *change).refusal()
    assert contents(tmp_path / "run") == before
    if "size of an image" not in message:
        adm.done(*words)
        assert not list((tmp_path / "run/checkpoints").glob("damaged-*"))
