"""checkpoints, a policy -> those that are retained."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from adm.training import checkpoint
from adm.training.checkpoint import best, prune
from adm.training.settings import TrainSettings


def policy(last: int = 2, best: bool = True, every: int | None = None) -> TrainSettings:
    return TrainSettings(
        steps=100,
        batch_size=1,
        learning_rate=0.1,
        save_every_steps=10,
        keep_last=last,
        keep_best=best,
        keep_every_steps=every,
    )


def add_checkpoints(
    run: Path, losses: dict[int, float | None], bad: Mapping[int, int] | None = None
) -> None:
    for step, loss in losses.items():
        folder = run / "checkpoints" / checkpoint.step_folder(step)
        folder.mkdir(parents=True)
        bad_steps = (bad or {}).get(step, 0)
        state = {"step": step, "micro_batch": 1, "validation": loss, "bad_steps": bad_steps}
        (folder / "model.safetensors").touch()
        (folder / "state.json").write_text(json.dumps(state))


def remaining_steps(run: Path) -> list[int]:
    return [int(f.name.removeprefix("step-")) for f in checkpoint.folders_of(run)]


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (policy(last=1, best=False), [50]),
        (policy(last=2, best=False), [40, 50]),
        (policy(last=2, best=True), [20, 40, 50]),
        (policy(last=1, best=False, every=30), [30, 50]),
        (policy(last=9, best=True), [10, 20, 30, 40, 50]),
    ],
)
def test_the_newest_the_best_and_one_in_every_so_many_stay(
    tmp_path: Path, retention: TrainSettings, expected: list[int]
) -> None:
    add_checkpoints(tmp_path, {10: 5.0, 20: 1.0, 30: None, 40: 2.0, 50: 3.0})
    prune(tmp_path, retention)
    assert remaining_steps(tmp_path) == expected
    if retention.keep_best:
        assert (tmp_path / "checkpoints/best").resolve().name == "step-0000020"


def test_a_checkpoint_off_the_schedule_goes_when_a_newer_one_is_there(tmp_path: Path) -> None:
    retention = policy(last=2, best=False)
    add_checkpoints(tmp_path, {20: None, 30: None, 37: None})
    prune(tmp_path, retention)
    assert remaining_steps(tmp_path) == [30, 37]  # where an interrupted run was saved
    add_checkpoints(tmp_path, {40: None})
    prune(tmp_path, retention)
    assert remaining_steps(tmp_path) == [30, 40]


def test_the_newest_checkpoint_before_nonfinite_steps_stays(tmp_path: Path) -> None:
    retention = policy(last=1, best=False)
    add_checkpoints(tmp_path, {10: None, 20: None, 30: None, 40: None}, bad={30: 2, 40: 12})
    prune(tmp_path, retention)
    assert remaining_steps(tmp_path) == [20, 40]
    good = checkpoint.newest_finite(tmp_path)
    assert good is not None
    assert good.name == "step-0000020"
    add_checkpoints(tmp_path, {50: None})
    prune(tmp_path, retention)
    assert remaining_steps(tmp_path) == [50]


def test_a_half_removed_or_half_saved_checkpoint_is_none_and_is_cleared(
    tmp_path: Path,
) -> None:
    add_checkpoints(tmp_path, {10: 0.1, 20: 2.0, 30: 3.0})
    (tmp_path / "checkpoints/step-0000010/state.json").unlink()
    folder = best(tmp_path)
    assert folder is not None
    assert folder.name == "step-0000020"
    half = tmp_path / "checkpoints/.step-0000033.part"
    half.mkdir()
    (half / "model.safetensors").touch()
    prune(tmp_path, policy())
    remaining = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert remaining == {"step-0000020", "step-0000030", "best"}


def test_the_link_is_removed_with_keep_best_off(tmp_path: Path) -> None:
    add_checkpoints(tmp_path, {10: 1.0, 20: 2.0, 30: 3.0})
    prune(tmp_path, policy())
    prune(tmp_path, policy(last=1, best=False))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000030"]


def test_a_kill_while_pruning_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_checkpoints(tmp_path, {10: None, 20: None, 30: None})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path, policy(last=1))
    assert remaining_steps(tmp_path) == [30]
