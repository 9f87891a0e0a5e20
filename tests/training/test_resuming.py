"""a run stopped anywhere, the same call again -> bit for bit the run that was never stopped."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

from adm.recipes.schema import override
from adm.runs.run import TrainOptions
from adm.training import checkpoint
from adm.training.learner import Learner
from adm.training.loop import JUDGED

# Four levels at eight images a step: every level has its ten losses well before the stop.
IMPORTANT = ("levels=by-loss", "loss=vlb", "process.steps=4", "train.batch_size=8")
RECIPES = {
    "dropout": tiny.diffusion("unet.dropout=0.3", "train.label_dropout=0.3", "data.flip=true"),
    "averages": tiny.diffusion("train.ema_others=0.5,0.9", "train.precision=float32"),
    "float16": tiny.diffusion("train.precision=float16", "unet.classes=null"),
    "upsampler": tiny.upsampler(
        *("unet.dropout=0.3", "data.low_res_noise=9", "unet.conditions=low_res")
    ),
    "paired": tiny.paired("train.label_dropout=0.5", "data.flip=true"),
    "classifier": tiny.classifier("classifier.dropout=0.3", "train.weight_decay=0.1"),
    "muon": tiny.diffusion("train.optimizer=muon", "process.prediction=edm:sigma_data=0.5"),
    "recomputed": tiny.diffusion("unet.dropout=0.3", "train.checkpoint_activations=true"),
}


def everything(run: Path) -> dict[str, Any]:
    """The complete state of a run, by file."""
    folder = checkpoint.latest(run)
    assert folder is not None
    files = folder.rglob("*.safetensors")
    tensors = {str(file.relative_to(folder)): load_file(file) for file in files}
    state = json.loads((folder / "state.json").read_text())
    return {**tensors, "state": state, "log": (run / "log.jsonl").read_bytes()}


def assert_same(run: Path, other: Path) -> None:
    ours, theirs = everything(run), everything(other)
    assert ours.keys() == theirs.keys()
    for name, actual in ours.items():
        if not name.endswith(".safetensors"):
            assert actual == theirs[name], name
            continue
        assert actual.keys() == theirs[name].keys()
        for key, value in actual.items():
            assert torch.equal(value, theirs[name][key]), f"{name}: {key}"


@pytest.mark.parametrize("name", RECIPES)
def test_killed_between_checkpoints_and_continued_is_uninterrupted(
    tmp_path: Path, name: str
) -> None:
    settings = ("train.save_every_steps=2",)
    chosen = override(RECIPES[name], settings)
    source = tiny.pairs() if chosen.data.paired else tiny.stripes()
    tiny.steps(chosen, source, tmp_path / "whole")
    tiny.steps(chosen, source, tmp_path / "killed", count=3)
    assert len(tiny.steps(chosen, source, tmp_path / "killed")) == 2  # from the checkpoint of 2
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_importance_of_levels_is_resumed_with_the_rest(tmp_path: Path) -> None:
    chosen = tiny.diffusion(*IMPORTANT, "train.steps=14", "train.save_every_steps=12")
    source = tiny.stripes()
    tiny.steps(chosen, source, tmp_path / "whole")
    tiny.steps(chosen, source, tmp_path / "parts", count=12)
    importance = everything(tmp_path / "parts")["importance.safetensors"]
    assert importance["counts"].tolist() == [10] * 4  # warm, so that the next draws depend on it
    assert importance["history"].dtype == torch.float64
    tiny.steps(chosen, source, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_resumed_run_does_not_depend_on_the_state_of_the_global_generator(
    tmp_path: Path,
) -> None:
    chosen, source = RECIPES["dropout"], tiny.stripes()
    torch.manual_seed(1)
    tiny.steps(chosen, source, tmp_path / "one")
    torch.manual_seed(2)
    tiny.steps(chosen, source, tmp_path / "two")
    assert_same(tmp_path / "one", tmp_path / "two")


class Figures:
    """A watch that reports a figure after every second step."""

    def __init__(self, *values: float, figure: str = JUDGED["validation"]) -> None:
        self.values, self.figure = values, figure

    def __call__(self, done: int, learner: Learner) -> dict[str, float]:
        return {} if done % 2 else {self.figure: self.values[done // 2 - 1]}


PATIENT = tiny.diffusion("train.steps=20", "train.save_every_steps=6", "train.keep_last=9")
FALLS_THRICE = (3.0, 2.0, 2.0, math.nan, 1.0, 2.0, 1.0, 5.0, 0.0, 0.0)  # of the steps 2, 4, ...


@pytest.mark.parametrize(("patience", "last"), [("null", 20), (1, 6), (3, 16)])
def test_a_run_ends_after_so_many_validations_in_a_row_without_a_better_one(
    tmp_path: Path, patience: object, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = override(PATIENT, [f"train.patience={patience}"])
    options = TrainOptions(watch=Figures(*FALLS_THRICE))
    with caplog.at_level("INFO", "adm"):
        shown = tiny.steps(chosen, tiny.stripes(), tmp_path, options=options)
        assert len(shown) == last
        newest = checkpoint.latest(tmp_path)
        assert checkpoint.step_of(newest) == last
        ended = [r.getMessage() for r in caplog.records if "train.patience" in r.getMessage()]
        if last == 20:
            assert not ended
            return
        assert ended == [
            f"step {last}: the run ends, as its last {patience} validations are no better than an "
            f"earlier one (train.patience={patience}); the best checkpoint is "
            f"{checkpoint.best(tmp_path)}"
        ]
        assert not tiny.steps(chosen, tiny.stripes(), tmp_path, options=options)  # it is finished
        longer = override(chosen, ["train.patience=null"])
        assert len(tiny.steps(longer, tiny.stripes(), tmp_path, options=options)) == 20 - last


def test_a_run_ends_by_the_distance_of_samples_and_keeps_the_checkpoint_of_the_least(
    tmp_path: Path,
) -> None:
    chosen = override(PATIENT, ["train.patience=2", "train.patience_of=distance"])
    values = (3.0, 1.0, 2.0, 1.5, 0.5)  # of the steps 2, 4, ...; 4 is on no schedule
    watch = Figures(*values, figure=JUDGED["distance"])
    for count in (5, None):  # killed after step 5
        tiny.steps(chosen, tiny.stripes(), tmp_path, count, TrainOptions(watch=watch))
    links = tmp_path / "checkpoints"
    assert checkpoint.latest(tmp_path) == links / "step-0000008"
    assert (links / "best-distance").resolve().name == "step-0000004"
    assert checkpoint.best(tmp_path, "distance") == links / "step-0000004"
    assert not (links / "best").exists()


def test_patience_is_the_same_however_a_run_was_interrupted(tmp_path: Path) -> None:
    chosen = override(PATIENT, ["train.patience=3"])
    options = TrainOptions(watch=Figures(*FALLS_THRICE))
    source = tiny.stripes()
    tiny.steps(chosen, source, tmp_path / "whole", options=options)
    for count in (7, 5, 1):  # killed after the steps 7, 11 and 7; it continues at 6, 6 and 12
        tiny.steps(chosen, source, tmp_path / "killed", count, options)
    tiny.steps(chosen, source, tmp_path / "killed", options=options)
    assert_same(tmp_path / "whole", tmp_path / "killed")
