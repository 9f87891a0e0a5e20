"""Each benchmark that is taken again, at its smallest size, as far as it needs no other code."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports one of them; they import each other by their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


@pytest.mark.parametrize(
    "words",
    [
        ("metrics.py", "--count", "40", "--rounds", "1", "--ways", "ours", "--passes", "40"),
        *((name, "--help") for name in ("ablation.py", "results.py", "sampling.py", "training.py")),
    ],
    ids=" ".join,
)
def test_a_benchmark_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ours" in done.stdout or "usage" in done.stdout


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


def test_whole_images_are_compared_where_all_levels_are_guided(module: Any) -> None:
    """The released code knows no interval, and its first steps are compared with ours."""
    whole = module("whole_images")
    block = whole.Block()
    cost = block.ancestral.cost
    assert (cost.network, cost.classifier) == (whole.ALL_STEPS, whole.ALL_STEPS)
    entrants = block.ours("float32", [5], (300, 980))
    calls = [contender.calls[1] for contender in entrants.values()]
    assert len(calls) == 2
    assert calls[1] < calls[0]
    assert block.students("float32")
