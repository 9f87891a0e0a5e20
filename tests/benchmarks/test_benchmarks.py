"""Each benchmark that is taken again, at its smallest size, as far as it needs no other code."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports one of them; they import each other by their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


@pytest.mark.parametrize("name", ["ablation", "hours", "results", "sampling", "training"])
def test_a_benchmark_starts(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


@pytest.mark.parametrize("name", ["sampling", "training"])
def test_a_step_is_timed_beside_the_released_code(name: str) -> None:
    if not (checkout := os.environ.get("ADM_RELEASED")):
        pytest.skip("set ADM_RELEASED to a checkout of github.com/openai/guided-diffusion")
    smallest = ["--released", checkout, "--shapes", "28", "--rounds", "2", "--threads", "1"]
    if name == "training":
        smallest += ["--batch-size", "2"]
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *smallest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| adm, float32 | " in done.stdout


def test_a_step_of_sampling_is_timed(module: Any) -> None:
    sampling = module("sampling")
    contest = sampling.Contest(sampling.SHAPES["28"], torch.device("cpu"))
    taken = sampling.race(contest.ours(), 1, sampling.CLOCKS["processor"])
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in taken.values())


def test_a_training_step_is_timed(module: Any) -> None:
    steps = module("steps")
    shape = steps.SHAPES["28"]
    step = steps.ours(shape, torch.device("cpu"), steps.float32)
    (batch,) = steps.batches(shape, 1, torch.device("cpu"))
    assert float(step(batch)) > 0


def test_a_machine_writes_a_row_for_the_page_of_all(tmp_path: Path) -> None:
    smallest = ["--count", "1", "--steps", "2", "--rounds", "2", "--device", "cpu"]
    model = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    tiny.model(tmp_path / "classifier.safetensors", tiny.classifier())
    out = tmp_path / "speed"
    command = [sys.executable, BENCHMARKS / "hardware.py", model, *smallest, "--out", out]
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    (made,) = out.glob("*model-safetensors_*_????-??-??.md")
    header, _, *rows = made.read_text("utf-8").splitlines()
    assert any(" float32 " in row for row in rows)
    kept = list((BENCHMARKS.parent / "docs/results/speed").glob("*.md"))
    assert kept
    for path in kept:
        assert path.read_text("utf-8").splitlines()[0] == header
