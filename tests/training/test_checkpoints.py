"""a run's state -> a folder: whole or not at all, early, few, refused where damaged or foreign."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from adm.models.load import load_diffusion
from adm.training import checkpoint, model_file
from adm.training.model_file import check_finite


def step_names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("file", ["model", "optimizer"])
def test_a_failing_save_leaves_the_checkpoint_before_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    chosen = tiny.diffusion("train.save_every_steps=2", "unet.dropout=0.2")
    source, run = tiny.stripes(), tmp_path / "run"
    tiny.steps(chosen, source, run, count=2)
    saved = run / "checkpoints/step-0000002/model.safetensors"
    before, metadata = model_file.load_weights(saved), model_file.entries_of(saved)

    def full(tensors: Any, path: Path, *rest: Any) -> None:
        if path.name == f"{file}.safetensors":
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
    after = model_file.load_weights(latest / "model.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert model_file.entries_of(latest / "model.safetensors") == metadata
    tiny.steps(chosen, source, run)
    tiny.steps(chosen, source, tmp_path / "whole")
    finished = [
        path / "checkpoints/step-0000004/raw.safetensors" for path in (run, run.parent / "whole")
    ]
    ours, theirs = map(load_file, finished)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert step_names(run) == ["step-0000002", "step-0000004"]  # and no leftovers of the failure


def test_the_first_checkpoint_comes_early_and_the_last_at_the_end(tmp_path: Path) -> None:
    chosen = tiny.diffusion("train.steps=11", "train.save_every_steps=1000")
    tiny.steps(chosen, tiny.stripes(), tmp_path, count=9)
    assert checkpoint.latest(tmp_path) is None
    tiny.steps(chosen, tiny.stripes(), tmp_path, count=10)
    assert step_names(tmp_path) == ["step-0000010"]
    tiny.steps(chosen, tiny.stripes(), tmp_path)
    assert step_names(tmp_path) == ["step-0000010", "step-0000011"]


def test_the_model_file_holds_the_average_and_raw_the_weights(tmp_path: Path) -> None:
    tiny.steps(tiny.diffusion(), tiny.stripes(), tmp_path)
    folder = checkpoint.latest(tmp_path)
    assert folder is not None
    average = load_diffusion(folder / "model.safetensors").network.state_dict()
    raw = load_file(folder / "raw.safetensors")
    assert average.keys() == raw.keys()
    assert any(not torch.equal(average[key], raw[key]) for key in raw)


def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    model_file.save_tensors(tmp_path / "weights.safetensors", {"weight": torch.zeros(2)})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_weights_of_another_shape_than_the_recipe_s_are_refused(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    weights, metadata = model_file.load_weights(path), model_file.entries_of(path)
    weights.popitem()
    model_file.save_model(path, weights, metadata)
    with pytest.raises(ValueError, match="do not match its recipe"):
        load_diffusion(path)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        load_diffusion(tmp_path)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values", [[], [3e38, 3e38], [-3e38, 3e38], [65504.0] * 9, [True], [1 << 60]], ids=str
)
@pytest.mark.parametrize("kind", [None, torch.float16, torch.bfloat16])
def test_finite_weights_pass_even_if_their_sum_is_not(
    values: list, kind: torch.dtype | None
) -> None:
    tensor = torch.tensor(values)
    if kind is not None and tensor.is_floating_point() and max(values, default=0) < 1e38:
        tensor = tensor.to(kind)
    check_finite(Path("m"), {"a": tensor}, "cure")


@pytest.mark.parametrize("value", [[NAN], [INFINITE], [1.0, -INFINITE], [INFINITE, -INFINITE]])
def test_the_first_weight_that_is_not_finite_is_named(value: list[float]) -> None:
    weights = {"a": torch.ones(2), "b": torch.tensor([value]), "c": torch.tensor(NAN)}
    with pytest.raises(ValueError, match=r"^b in m has values that are not finite; cure$"):
        check_finite(Path("m"), weights, "cure")
