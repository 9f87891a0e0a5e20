"""Checksummed files of a checkpoint: damage is detected, named and trained again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adm.models.load import load_diffusion
from adm.store.hashes import SUMS, seal
from adm.training import checkpoint, model_file
from adm.training.checkpoint import folders_of, latest, step_of

SETTINGS = ("train.save_every_steps=2", "train.steps=6", "watch.images=0")
PARTS = ("model.safetensors", "raw.safetensors", "optimizer.safetensors", "state.json", SUMS)


def train(run: Path, count: int | None = None) -> list[dict]:
    return tiny.steps(tiny.diffusion(*SETTINGS), tiny.stripes(), run, count)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, with checkpoints after 4 and 6 steps."""
    run = tmp_path_factory.mktemp("run") / "whole"
    train(run)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole`."""
    copy = tmp_path / "run"
    shutil.copytree(whole, copy, symlinks=True)
    return copy


def newest(run: Path) -> Path:
    return latest(run)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def swap(file: Path) -> None:
    """Replace a file by that of the previous checkpoint."""
    shutil.copy(file.parent.with_name("step-0000004") / file.name, file)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", Path.unlink),
        ("raw.safetensors", flip),
        ("optimizer.safetensors", swap),
        ("state.json", cut),
        (SUMS, swap),
        (SUMS, Path.unlink),
    ],
)
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(
    run: Path, whole: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable
) -> None:
    damage(newest(run) / name)
    assert len(train(run)) == 2
    log = caplog.text
    assert "step-0000006/" in log
    assert "it is now in damaged-step-0000006, and training continues from step-0000004" in log
    assert sorted(f.name for f in (run / "checkpoints").glob("*step*")) == [
        "step-0000004",
        "step-0000006",
    ]
    for file in PARTS:
        assert (newest(run) / file).read_bytes() == (newest(whole) / file).read_bytes()


def test_a_damaged_checkpoint_stays_aside_until_it_is_trained_again(run: Path) -> None:
    flip(newest(run) / "raw.safetensors")
    assert train(run, 1)
    assert newest(run) == run / "checkpoints/step-0000004"
    assert (run / "checkpoints/damaged-step-0000006/model.safetensors").exists()


def test_a_run_without_a_whole_checkpoint_is_refused_and_unchanged(run: Path) -> None:
    for folder in folders_of(run):
        flip(folder / "optimizer.safetensors")
    before = sorted((run / "checkpoints").iterdir())
    message = r"step-0000006/optimizer\.safetensors .*no checkpoint before it is whole; copy it"
    with pytest.raises(ValueError, match=message):
        train(run)
    assert sorted((run / "checkpoints").iterdir()) == before


@pytest.mark.parametrize(
    ("name", "damage"), [("model.safetensors", cut), ("state.json", swap), (SUMS, swap)]
)
@pytest.mark.parametrize("path", ["", "checkpoints/step-0000006/model.safetensors"])
def test_a_damaged_model_is_not_sampled(
    run: Path, name: str, damage: Callable[[Path], None], path: str
) -> None:
    assert load_diffusion(run / path).trained_steps == 6
    damage(newest(run) / name)
    message = "copy it again, or remove .*step-0000006 to use the checkpoint before it"
    with pytest.raises(ValueError, match=message) as raised:
        load_diffusion(run / path)
    assert "step-0000006" in str(raised.value)


def test_a_model_outside_of_a_checkpoint_is_read(run: Path, tmp_path: Path) -> None:
    shutil.copy(newest(run) / "model.safetensors", tmp_path / "copy.safetensors")
    assert load_diffusion(tmp_path / "copy.safetensors").trained_steps == 6


@pytest.mark.parametrize("place", ["raw.safetensors", "model.safetensors"])
def test_weights_that_are_not_finite_are_not_used(
    run: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    file = newest(run) / place
    weights, metadata = model_file.load_weights(file), model_file.entries_of(file)
    weights["head.2.bias"].fill_(float("nan"))
    model_file.save_model(file, weights, metadata)
    seal(newest(run))
    if place == "model.safetensors":
        with pytest.raises(ValueError, match=r"head\.2\.bias in .* not finite; copy it again"):
            load_diffusion(run)
    assert len(train(run)) == 2
    assert f"head.2.bias in {file} has values that are not finite; it is now in" in caplog.text


Tensors = dict[str, torch.Tensor]


def lack(tensors: Tensors, key: str, other: str) -> None:
    del tensors[key]


def exchange(tensors: Tensors, key: str, other: str) -> None:
    tensors[key], tensors[other] = tensors[other], tensors[key]


def narrow(tensors: Tensors, key: str, other: str) -> None:
    tensors[key] = tensors[key].half()


def reshape(tensors: Tensors, key: str, other: str) -> None:
    tensors[key] = tensors[key].reshape(1, *tensors[key].shape)


def rename(tensors: Tensors, key: str, other: str) -> None:
    tensors[f"{key}s"] = tensors.pop(key)


MODEL = ("model.safetensors", "head.2.bias", "head.2.weight")
MOMENTS = ("optimizer.safetensors", "exp_avg/head.2.weight", "exp_avg_sq/head.2.bias")


@pytest.mark.parametrize(
    ("change", "file", "key", "other"),
    [
        (each, *file)
        for file in (MODEL, MOMENTS)
        for each in (lack, exchange, narrow, reshape, rename)
    ],
)
def test_a_checkpoint_with_another_tensor_than_the_run_saves_is_damaged(
    run: Path,
    whole: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Tensors, str, str], None],
    file: str,
    key: str,
    other: str,
) -> None:
    path = newest(run) / file
    with safe_open(path, "pt") as opened:
        header = opened.metadata()
    tensors = load_file(path)
    change(tensors, key, other)
    save_file(tensors, path, header)
    seal(newest(run))
    assert len(train(run)) == 2
    assert f"in {path} is " in caplog.text
    assert "it is now in damaged-step-0000006, and training continues from step-0000004" in (
        caplog.text
    )
    for name in PARTS:
        assert (newest(run) / name).read_bytes() == (newest(whole) / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-0000002", 2),
        ("step-10000000", 10**7),
        ("step-abc", None),
        ("step-01000000", None),
        ("step-" + "9" * 400, None),
        ("damaged-step-0000002", None),
        ("step-٠٠٠٠٠٠٢", None),
    ],
)
def test_the_names_of_checkpoints(name: str, step: int | None) -> None:
    assert step_of(Path(name)) == step


def test_a_path_that_is_no_checkpoint_is_left_alone(run: Path) -> None:
    folder = run / "checkpoints"
    (folder / "step-abc").mkdir()
    (folder / "step-abc" / "state.json").write_text("[]")
    (folder / "step-0000009").write_text("a file")
    assert newest(run).name == "step-0000006"
    shutil.rmtree(newest(run))
    assert len(train(run)) == 2
    assert (folder / "step-abc").is_dir()
    assert (folder / "step-0000009").is_file()


@pytest.mark.parametrize(
    "state",
    [
        "{}",
        '{"step": "6", "micro_batch": 4, "bad_steps": 0}',
        '{"step": 6, "micro_batch": 4, "bad_steps": -1}',
        '{"step": 6, "micro_batch": 4, "loss_scale": 0}',
        "[" * 100_000,
    ],
)
def test_a_state_of_another_form_is_damaged(run: Path, state: str) -> None:
    (newest(run) / "state.json").write_text(state)
    (newest(run) / SUMS).unlink()
    with pytest.raises(ValueError, match=r"state\.json is missing or damaged"):
        checkpoint.read_numbers(newest(run))
    assert len(train(run)) == 2


def test_a_loss_scale_may_be_infinite(run: Path) -> None:
    state = json.loads((newest(run) / "state.json").read_text())
    state["loss_scale"] = float("inf")
    (newest(run) / "state.json").write_text(json.dumps(state))
    seal(newest(run))
    assert train(run) == []
