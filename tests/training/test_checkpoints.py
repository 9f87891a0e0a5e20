"""a run's state -> a folder: whole or not at all, early, few, refused where damaged or foreign."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from adm.models.load import load_classifier, load_diffusion
from adm.training import checkpoint, model_file


def steps_kept(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("file", ["model", "optimizer"])
def test_a_failing_save_leaves_the_checkpoint_before_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    chosen = tiny.diffusion("train.save_every_steps=2", "unet.dropout=0.2")
    source, run = tiny.stripes(), tmp_path / "run"
    tiny.steps(chosen, source, run, count=2)
    before = model_file.load_model(run / "checkpoints/step-0000002/model.safetensors")

    def full(tensors: Any, path: Path, *rest: Any) -> None:
        if path.name.startswith(f".{file}."):
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(tensors, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(model_file, "save_file", full)
        with pytest.raises(
            OSError,
            match=r"\(No space left on device\); step-0000002 is intact.* free disk space",
        ):
            tiny.steps(chosen, source, run)
    latest = checkpoint.latest(run)
    assert latest is not None
    assert latest.name == "step-0000002"
    after = model_file.load_model(latest / "model.safetensors")
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    assert before[1] == after[1]
    tiny.steps(chosen, source, run)
    tiny.steps(chosen, source, tmp_path / "whole")
    finished = [
        path / "checkpoints/step-0000004/raw.safetensors" for path in (run, run.parent / "whole")
    ]
    ours, theirs = map(load_file, finished)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert steps_kept(run) == ["step-0000002", "step-0000004"]  # and no leavings of the failure


def test_the_first_checkpoint_comes_early_and_the_last_at_the_end(tmp_path: Path) -> None:
    chosen = tiny.diffusion("train.steps=11", "train.save_every_steps=1000")
    tiny.steps(chosen, tiny.stripes(), tmp_path, count=9)
    assert checkpoint.latest(tmp_path) is None
    tiny.steps(chosen, tiny.stripes(), tmp_path, count=10)
    assert steps_kept(tmp_path) == ["step-0000010"]
    tiny.steps(chosen, tiny.stripes(), tmp_path)
    assert steps_kept(tmp_path) == ["step-0000010", "step-0000011"]


def test_the_model_file_holds_the_average_and_raw_the_weights(tmp_path: Path) -> None:
    tiny.steps(tiny.diffusion(), tiny.stripes(), tmp_path)
    folder = checkpoint.latest(tmp_path)
    assert folder is not None
    average = load_diffusion(folder / "model.safetensors").network.state_dict()
    raw = load_file(folder / "raw.safetensors")
    assert average.keys() == raw.keys()
    assert any(not torch.equal(average[key], raw[key]) for key in raw)


class Runs:
    """A pickle of this makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.mkdir, (self.marker,))


@pytest.mark.parametrize(
    ("suffix", "message"),
    [(".safetensors", "not a model file"), (".pt", "could run code, so it was not loaded")],
)
def test_a_pickle_is_refused_and_its_code_does_not_run(
    tmp_path: Path, suffix: str, message: str
) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Runs(marker), protocol=2))
    for written in ("pickle", "torch"):
        with pytest.raises(ValueError, match=message):
            load_diffusion(path)
        assert not marker.exists(), written
        torch.save({"weights": Runs(marker)}, path)
    pickle.loads(pickle.dumps(Runs(marker)))
    assert marker.exists()  # it would have run


def test_weights_of_another_shape_than_the_recipe_s_are_refused(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    weights, metadata = model_file.load_model(path)
    weights.popitem()
    model_file.save_model(path, weights, metadata)
    with pytest.raises(ValueError, match="do not match its recipe"):
        load_diffusion(path)


def test_each_kind_of_model_is_asked_for_by_its_own_name(tmp_path: Path) -> None:
    diffusion = tiny.model(tmp_path / "d.safetensors", tiny.diffusion())
    classifier = tiny.model(tmp_path / "c.safetensors", tiny.classifier())
    with pytest.raises(ValueError, match=r"is a classifier; give a diffusion model"):
        load_diffusion(classifier)
    with pytest.raises(ValueError, match=r"is a diffusion model; give a classifier"):
        load_classifier(diffusion)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        load_diffusion(tmp_path)
