"""train, sample, info, recipes -> their files and output, end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from samples import contents

from adm.app.cli import main
from adm.generation import blocks
from adm.recipes import recipe
from adm.recipes.schema import from_json
from adm.spec import to_json

# One worker trains the model of all tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("verbs")]

SMALL = (
    "train.batch_size=8",
    "train.save_every_steps=2",
    "unet.channels=16",
    "unet.heads.channels_per_head=16",
    "watch.validation_images=8",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, trained for three steps by the command line itself."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "digits", "--out", str(out), "--steps", "3", "--device", "cpu", "--set"]
    with pytest.raises(SystemExit) as stopped:
        main([*words, *SMALL])
    assert not stopped.value.code
    return out


def test_training_leaves_checkpoints_a_log_and_a_record_of_the_run(trained: Path) -> None:
    expected = {"checkpoints", "log.jsonl", "run.json", "data.json", "previews", "progress.png"}
    assert {path.name for path in trained.iterdir()} == expected
    assert len((trained / "log.jsonl").read_text().splitlines()) == 3
    assert (trained / "checkpoints" / "step-0000003" / "model.safetensors").is_file()


def test_a_run_s_folder_is_sampled_by_name_and_number(
    adm: Adm, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--classes", "seven:2,zero", "--steps", 3, "--seed", 5, "--grid", "even:start=900")
    answer = adm.done("sample", trained, *options, "--out", out)
    assert "3 images, samples.npz, samples.json" in answer.out
    assert "each image took " in answer.out
    assert answer.out.splitlines()[-1] == f"{out / 'grid.png'}: open it to see the samples"
    assert set(contents(out)) == {
        "seven_seed5_000000.png",
        "seven_seed5_000001.png",
        "zero_seed5_000002.png",
        "samples.npz",
        "samples.json",
        "grid.png",
        "SHA256SUMS",
    }
    with np.load(out / "samples.npz", allow_pickle=False) as archive:
        assert archive["arr_0"].shape == (3, 8, 8, 1)
        assert archive["arr_1"].tolist() == [7, 7, 0]
    manifest = json.loads((out / "samples.json").read_text())
    assert manifest["model"]["trained_steps"] == 3
    sampling = manifest["sampling"]
    assert (sampling["sampler"], sampling["seed"]) == ("ddim", 5)
    assert sampling["grid"] == "even:steps=3,start=900"


def test_a_finished_command_is_done_and_says_so(adm: Adm, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("sample", models / "model.safetensors", "--count", 2, "--out", out)
    adm.done(*words)
    before = contents(out)
    again = adm(*words)
    assert (again.status, again.err) == (0, "")
    assert again.out.splitlines()[0].startswith(f"{out} is complete: it holds these images; add")
    assert again.out.splitlines()[-1] == f"{out / 'grid.png'}: open it to see the samples"
    assert contents(out) == before
    animated = adm(*words, "--animate")
    assert "denoising.gif: the images at every step" in animated.out
    assert set(contents(out)) - set(before) == {"denoising.gif"}
    line = adm(*words, "--seed", 1).refusal()
    assert "sampling.seed is 0 there and 1 here" in line
    adm.done(*words, "--seed", 1, "--overwrite")
    assert "sneaker_seed1_000000.png" in contents(out)
    assert "denoising.gif" not in contents(out)


def test_classes_have_the_proportions_of_a_list(adm: Adm, models: Path, tmp_path: Path) -> None:
    names = enumerate(("bag", "bag", "sneaker", "bag"))
    rows = "file,label\n" + "".join(f"{i},{name}\n" for i, name in names)
    (tmp_path / "labels.csv").write_text(rows)
    words = ("sample", models / "model.safetensors", "--proportions", tmp_path / "labels.csv")
    adm.done(*words, "--count", 8, "--out", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "samples.json").read_text())
    named = [manifest["classes"][label] for label in manifest["labels"]]
    assert (named.count("bag"), named.count("sneaker"), len(named)) == (6, 2, 8)
    line = adm(*words, "--classes", "bag:2", "--out", tmp_path / "both").refusal()
    assert "--classes and --proportions both choose the classes; give one" in line
    unlabelled = models / "unlabelled.safetensors"
    line = adm("sample", unlabelled, *words[2:], "--out", tmp_path / "none").refusal()
    assert "--proportions needs a model with classes" in line


def test_a_part_says_what_is_missing_and_the_last_one_writes_the_folder(
    adm: Adm, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LARGEST", 2)
    words = ("sample", models / "model.safetensors", "--count", 6, "--out", tmp_path / "out")
    adm.done(*words[:-1], tmp_path / "whole")
    first = adm(*words, "--part", "1/3").out
    assert "part 1/3 of" in first
    assert "4 of 6 images are missing beside it: run --part 2/3, 3/3, or copy" in first
    assert "run --part 3/3, or copy" in adm(*words, "--part", "2/3").out
    assert "6 images, samples.npz" in adm(*words, "--part", "3/3").out
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert "is complete" in adm(*words, "--part", "3/3").out
    assert "is no part: --part 2/4 is the second of four" in adm(*words, "--part", "0/3").refusal()


@pytest.mark.parametrize("name", ["digits", "imagenet128-ablated"])
def test_a_recipe_is_shown_with_what_it_promises(adm: Adm, name: str) -> None:
    answer = adm("recipes", name)
    promise, _, values = answer.out.partition("{")
    assert from_json(json.loads("{" + values)) == recipe(name)
    assert to_json(recipe(name)) == json.loads("{" + values)
    assert len(promise) > 20
