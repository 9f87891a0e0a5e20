"""adm.train -> the run that `adm train` makes."""

import hashlib
from pathlib import Path

import pytest
import tiny

import adm
from adm.cli import main
from adm.training.loop import Progress

SETTINGS = (*tiny.COMMON[1:], "train.batch_size=8", "train.save_every_steps=2", "watch.images=4")


def weights(folder: Path) -> dict[str, str]:
    files = sorted((folder / "checkpoints").glob("step-*/*.safetensors"))
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.mark.slow
def test_the_library_trains_what_the_command_line_trains(tmp_path: Path) -> None:
    told: list[Progress] = []
    folder = adm.train(
        "digits",
        out=tmp_path / "library",
        steps=3,
        settings=SETTINGS,
        device="cpu",
        on_progress=told.append,
    )
    assert [progress.step for progress in told] == [1, 2, 3]
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


def test_a_source_in_memory_is_trained_on(tmp_path: Path) -> None:
    chosen = tiny.diffusion("train.steps=2", "watch.images=0")
    folder = adm.train(chosen, out=tmp_path / "run", data=tiny.stripes(), device="cpu")
    assert adm.load(folder).classes == tiny.CLASSES


def test_what_cannot_be_is_refused_in_python(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe 'digts'; did you mean digits"):
        adm.train("digts", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
