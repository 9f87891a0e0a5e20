"""a run's folder -> belongs to one run: another run, or a changed setting, is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from samples import contents

from adm.data.fingerprint import fingerprint
from adm.processes import Devices
from adm.runs import run
from adm.runs.folder import FREE, check_claim, claim, identity, start_of
from adm.spec import to_json
from adm.training.spread import longest_share, share

CPU = torch.device("cpu")
A = {"a": "b"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rate=0.5", r"recipe\.train\.learning_rate is 0\.01 there and 0\.5 here"),
        (
            "unet.heads.heads=2",
            r"recipe\.unet\.heads\.channels_per_head is 8 there and nothing here",
        ),
    ],
)
def test_a_changed_setting_is_named_with_both_values(
    tmp_path: Path, setting: str, message: str
) -> None:
    out = tmp_path / "run"
    tiny.steps(tiny.diffusion(), tiny.stripes(), out, count=1)
    before = contents(out)
    with pytest.raises(ValueError, match=rf"{message}; choose another folder"):
        run.train_steps(tiny.diffusion(setting), tiny.stripes(), out, CPU)
    assert contents(out) == before


def test_another_kind_of_run_and_other_data_are_refused(tmp_path: Path) -> None:
    tiny.steps(tiny.diffusion("train.save_every_steps=1"), tiny.stripes(), tmp_path, count=1)
    with pytest.raises(ValueError, match=r"holds another run: recipe\.name is 'digits' there"):
        run.train_steps(tiny.classifier(), tiny.stripes(), tmp_path, CPU)
    with pytest.raises(ValueError, match="data is 'stripes' there and 'spots' here"):
        run.train_steps(tiny.diffusion(), replace(tiny.stripes(), name="spots"), tmp_path, CPU)
    other = replace(tiny.stripes(), classes=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"classes is .*'sneaker'.* there"):
        run.train_steps(tiny.diffusion(), other, tmp_path, CPU)
    with pytest.raises(ValueError, match="the number of images, 30 and now 31, has changed"):
        run.train_steps(tiny.diffusion(), tiny.stripes(31), tmp_path, CPU)
    labels = tiny.stripes().labels.clone()
    labels[3] = 1
    with pytest.raises(ValueError, match="the label of an image has changed; restore them"):
        run.train_steps(tiny.diffusion(), replace(tiny.stripes(), labels=labels), tmp_path, CPU)


@pytest.mark.parametrize(
    "setting", ["data.size=9,9", "unet.norm_groups=7", "unet.classes=4", "train.batch_size=31"]
)
def test_a_recipe_that_cannot_be_trained_leaves_no_folder(tmp_path: Path, setting: str) -> None:
    with pytest.raises(
        ValueError, match=r"use|divi|number of classes|at most 30|stripes has 3; set"
    ):
        run.train_steps(tiny.diffusion(setting), tiny.stripes(), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_settings_without_effect_on_the_weights_may_change(tmp_path: Path) -> None:
    settings = (
        *("train.save_every_steps=7", "train.keep_last=5", "train.keep_best=false"),
        *("train.checkpoint_activations=true", "train.give_up_after=3"),
        *("watch.images=0", "watch.validation_images=9"),
    )
    tiny.steps(tiny.diffusion("train.save_every_steps=2"), tiny.stripes(), tmp_path / "a", count=2)
    assert len(tiny.steps(tiny.diffusion(*settings), tiny.stripes(), tmp_path / "a")) == 2
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["recipe"] == to_json(tiny.diffusion(*settings))


def test_a_run_whose_rate_stays_may_be_made_longer(tmp_path: Path) -> None:
    steady = ("train.anneal=false", "train.warmup_steps=0")
    tiny.steps(tiny.diffusion(*steady), tiny.stripes(), tmp_path / "longer")
    tiny.steps(tiny.diffusion(*steady, "train.steps=6"), tiny.stripes(), tmp_path / "longer")
    tiny.steps(tiny.diffusion(*steady, "train.steps=6"), tiny.stripes(), tmp_path / "whole")
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("longer", "whole")]
    assert logs[0] == logs[1]


def test_a_run_that_was_annealed_may_be_made_longer_and_follows_the_new_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends like the same run, killed in the middle: with the rates of the longer one."""
    short, longer = (
        tiny.diffusion("train.anneal=true"),
        tiny.diffusion("train.anneal=true", "train.steps=6"),
    )
    tiny.steps(short, tiny.stripes(), tmp_path / "run")
    caplog.set_level("INFO", "adm")
    done = tiny.steps(longer, tiny.stripes(), tmp_path / "run")
    assert len(done) == 6 - short.train.steps
    assert "falls from here to 0 at step 6; it was to be 0 at step" in caplog.text
    assert json.loads((tmp_path / "run/run.json").read_text())["recipe"]["train"]["steps"] == 6
    rates = [
        json.loads(line)["learning_rate"]
        for line in (tmp_path / "run/log.jsonl").read_text().splitlines()
    ]
    peak = longer.train.learning_rate
    assert rates[-1] == pytest.approx(longer.train.rate(5, peak))


def test_every_other_setting_of_training_identifies_the_run(tmp_path: Path) -> None:
    described = identity(tiny.diffusion("train.anneal=false"), tiny.stripes())
    claim(tmp_path / "run", described, fingerprint(tiny.stripes()))
    free = {field.rpartition(".")[2] for field in FREE if field.startswith("recipe.train.")}
    train = described["recipe"]["train"]
    for field in train.keys() - free:
        changed = {**described["recipe"], "train": {**train, field: f"not {train[field]}"}}
        with pytest.raises(ValueError, match=rf"recipe\.train\.{field} is "):
            check_claim(tmp_path / "run", {**described, "recipe": changed}, tiny.stripes())


def test_the_shares_of_processes_are_of_nearly_one_size() -> None:
    assert longest_share(6, Devices(CPU, rank=1, world=4)) == 2
    assert [len(share(6, Devices(CPU, rank, 4))) for rank in range(4)] == [1, 2, 1, 2]


def test_a_batch_that_does_not_divide_among_the_processes_is_refused() -> None:
    expected = "train.batch_size must be at least 5, one for each process, got 4"
    with pytest.raises(ValueError, match=expected):
        run.check(tiny.diffusion(), tiny.stripes(), Devices(CPU, world=5), run.TrainOptions())


def test_other_renames_are_another_start(tmp_path: Path) -> None:
    described = identity(tiny.diffusion(), tiny.stripes())
    begun = {**described, "start": {"given": "m", "model": "m", "sha256": 64 * "0", "renamed": A}}
    claim(tmp_path / "run", begun, fingerprint(tiny.stripes()))
    assert start_of(tmp_path / "run", "m", A)["start"]["renamed"] == A
    for renamed in ({}, {"a": "c"}):
        with pytest.raises(ValueError, match="it renamed"):
            start_of(tmp_path / "run", "m", renamed)
