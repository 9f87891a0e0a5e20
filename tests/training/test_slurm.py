"""examples/slurm.py, its processes started by submitit on this machine -> the run of torchrun."""

from pathlib import Path

import launch
import pytest
import tiny
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = ("train.steps=3", "train.precision=float32", "watch.images=0")


@pytest.mark.slow
def test_the_example_trains_on_two_processes_and_both_come_back(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))  # where the processes find it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from slurm import Training

    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    path, data = launch.files(tmp_path / "files", recipe, source)
    run = tmp_path / "queued"
    words = [str(path), "--data", str(data), "--out", str(run), "--device", "cpu"]
    executor = submitit.LocalExecutor(folder=tmp_path / "logs")
    executor.update_parameters(tasks_per_node=2, timeout_min=5)
    assert executor.submit(Training(words)).results() == [None, None]

    tiny.steps(recipe, source, tmp_path / "one")
    torch.testing.assert_close(
        launch.losses(run), launch.losses(tmp_path / "one"), rtol=2e-4, atol=1e-6
    )
