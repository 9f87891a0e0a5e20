"""adm.train -> the run that `adm train` makes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import adm
from adm.app.cli import main
from adm.recipes.schema import override
from adm.spec import to_json
from adm.training.loop import Progress

SETTINGS = (
    *(*tiny.COMMON[1:], "train.batch_size=8", "train.save_every_steps=2"),
    *("watch.images=4", "watch.validation_images=8"),
    *("unet.channels=16", "unet.heads.channels_per_head=16"),
)


def weights(folder: Path) -> dict[str, str]:
    files = sorted((folder / "checkpoints").glob("step-*/*.safetensors"))
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.mark.slow
def test_the_library_trains_what_the_command_line_trains(tmp_path: Path) -> None:
    reports: list[Progress] = []
    folder = adm.train(
        "digits",
        out=tmp_path / "library",
        steps=3,
        settings=SETTINGS,
        device="cpu",
        on_progress=reports.append,
    )
    assert [progress.step for progress in reports] == [1, 2, 3]
    words = ["train", "digits", "--steps", "3", "--device", "cpu", "--set", *SETTINGS]
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(tmp_path / "command")])
    assert end.value.code == 0
    assert weights(folder) == weights(tmp_path / "command")
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("library", "command")]
    assert logs[0] == logs[1]
    assert list((folder / "previews").glob("*.png"))
    assert adm.train("digits", out=folder, steps=3, settings=SETTINGS, device="cpu") == folder
    assert adm.load(folder).model.trained_steps == 3


def test_data_that_a_model_names_are_opened_only_if_the_caller_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", arr_0=np.zeros((8, 8, 8, 1), np.uint8))
    place = str(tmp_path / "data.npz")
    recipe = tiny.diffusion("train.steps=1", "watch.images=0", "unet.classes=null")
    recipe = override(recipe, [f"data.source={place}"])
    model = adm.train(recipe, out=tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="does not get to open; give data=DATA"):
        adm.train(model, out=tmp_path / "again", device="cpu")
    adm.train(model, out=tmp_path / "again", data=place, device="cpu")
    written = tmp_path / "recipe.json"  # by the user, who thereby names the data
    written.write_text(json.dumps(to_json(recipe)))
    adm.train(written, out=tmp_path / "written", device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": 3}, "recipe must be a name, a path or a recipe, got 3"),
        ({"data": torch.zeros(3, 1, 8, 8)}, "data must be a data spec or a Source"),
        ({"settings": "unet.dropout=0.1"}, "settings must be a list such as"),
    ],
)
def test_an_argument_of_another_type_is_named(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        adm.train(**{"recipe": "digits", "out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


def test_training_takes_a_source_in_memory_and_expands_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = tiny.diffusion("train.steps=1", "watch.images=0")
    place = adm.train(chosen, out="~/run", data=tiny.stripes(), device=torch.device("cpu"))
    assert place == tmp_path / "run"
    assert adm.load(place).classes == tiny.CLASSES


def test_the_progress_of_training_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(steps: int, **more: Any) -> str:
        recipe = tiny.diffusion(f"train.steps={steps}", "watch.images=4", "unet.classes=10")
        adm.train(recipe, out=tmp_path / "run", data="digits", device="cpu", **more)
        return capsys.readouterr().err

    assert shown(1) == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich treats as one
    lines = shown(2)
    assert "2 of 2 steps" in lines
    assert "validating on digits" in lines
    assert "drawing previews" in lines
    assert shown(3, on_progress=lambda progress: None) == ""
