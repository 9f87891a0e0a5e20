"""a watched run -> bit for bit the unwatched one, and the same log when continued."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from runs import states
from safetensors.torch import load_file

from adm.data import Source
from adm.recipes import Recipe
from adm.recipes.schema import override
from adm.runs.run import TrainOptions, train_steps
from adm.runs.watch import watching
from adm.runs.watch.previews import FOLDER
from adm.training import checkpoint

pytestmark = pytest.mark.slow

WATCHED = (
    "watch.every_steps=2",
    "watch.images=3",
    "watch.validation_images=8",
    "train.steps=5",
    "train.save_every_steps=2",
)
DROPOUT = {"diffusion": "unet.dropout=0.3", "classifier": "classifier.dropout=0.3"}


def chosen_of(kind: str, *settings: str) -> Recipe:
    return override(tiny.KINDS[kind](), [*WATCHED, DROPOUT[kind], *settings])


def trained(
    chosen: Recipe, run: Path, *, watched: bool, stop_after: int | None = None
) -> list[dict[str, Any]]:
    source: Source = tiny.stripes()
    options = TrainOptions()
    if watched:
        watch = watching(states.watched(chosen, tiny.stripes(12), source, run))
        options = TrainOptions(watch=watch)
    progress = train_steps(chosen, source, run, states.CPU, options)
    for state in progress:
        if state.step == stop_after:
            break
    progress.close()  # type: ignore[attr-defined]
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def tensors(run: Path) -> dict[str, Any]:
    folder = checkpoint.latest(run)
    assert folder is not None
    return {
        f"{file.name}/{key}": value
        for file in sorted(folder.glob("*.safetensors"))
        for key, value in load_file(file).items()
    }


@pytest.mark.parametrize("kind", DROPOUT)
def test_watching_changes_nothing_that_is_learned(tmp_path: Path, kind: str) -> None:
    chosen = chosen_of(kind)
    alone = trained(chosen, tmp_path / "alone", watched=False)
    watched = trained(chosen, tmp_path / "watched", watched=True)
    ours, theirs = tensors(tmp_path / "alone"), tensors(tmp_path / "watched")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert [{k: v for k, v in line.items() if "/" not in k} for line in watched] == alone
    assert ["validation/loss" in line for line in watched] == [False, True, False, True, True]
    assert (tmp_path / "watched" / "progress.png").exists()
    names = [path.name for path in sorted(tmp_path.glob(f"watched/{FOLDER}/*"))]
    steps = (2, 4, 5) if kind == "diffusion" else ()
    assert names == [f"step-{step:07d}.png" for step in steps]


def test_a_watched_run_is_continued_with_the_log_of_an_uninterrupted_one(tmp_path: Path) -> None:
    # Both have the same name, which their pictures show.
    whole, parts = tmp_path / "whole" / "run", tmp_path / "parts" / "run"
    chosen = chosen_of("diffusion", "watch.every_steps=4")
    log = trained(chosen, whole, watched=True)
    trained(chosen, parts, watched=True, stop_after=3)
    assert trained(chosen, parts, watched=True) == log
    last = f"{FOLDER}/step-0000005.png"
    assert (parts / last).read_bytes() == (whole / last).read_bytes()


def test_pictures_that_cannot_be_written_end_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adm.runs.watch.previews.write", full)
    monkeypatch.setattr("adm.runs.watch.curves.write", full)
    log = trained(chosen_of("diffusion"), tmp_path / "run", watched=True)
    assert len(log) == 5
    assert "validation/loss" in log[-1]
    assert len([line for line in caplog.messages if "No space left" in line]) == 2


def test_validation_that_fails_ends_the_run(tmp_path: Path) -> None:
    chosen, source = chosen_of("classifier"), tiny.stripes()

    def broken(rows: list[int]) -> torch.Tensor:
        if rows != [0]:
            raise ValueError("photo.jpg is damaged")
        return source.batch(rows)[0]

    held_out = Source("held out", source.classes, source.labels, broken)
    watch = watching(states.watched(chosen, held_out, source, tmp_path / "run"))
    with pytest.raises(ValueError, match=r"photo\.jpg is damaged"):
        list(train_steps(chosen, source, tmp_path / "run", states.CPU, TrainOptions(watch=watch)))
