"""examples/search_grid.py -> levels of the cheapest way, which lead nearer to the ODE."""

from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from oracle import four_modes, last, noise_like, normal, rms
from torch import Tensor

import adm
from adm.diffusion import cosine
from adm.diffusion.fractional import karras
from adm.samplers import DDIM, Even, Grid, Levels, LogSNR

SCHEDULE, START = cosine(1000), 980
X = normal((24, 1, 2, 2), 0)
MIXTURE = four_modes()


@pytest.fixture(scope="module")
def example() -> Any:
    spec = spec_from_file_location(
        "search_grid", Path(__file__).parents[2] / "examples/search_grid.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def total(cost: Tensor, levels: list[int], coefficient: float) -> float:
    """Of a way, term by term: the first step counts once, the last one most."""
    steps = pairwise([*reversed(levels), 0])
    return sum(coefficient**i * float(cost[high, low]) for i, (high, low) in enumerate(steps))


@pytest.mark.parametrize("coefficient", [0.8, 1.15])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_the_cheapest_way_is_the_best_of_all(example: Any, steps: int, coefficient: float) -> None:
    for seed in range(5):
        cost = normal((8, 8), seed).abs().masked_fill(torch.ones(8, 8).triu().bool(), torch.inf)
        chosen = example.cheapest(cost, steps, coefficient)
        ways = [[*inner, 7] for inner in combinations(range(1, 7), steps - 1)]
        assert chosen == min(ways, key=lambda way: total(cost, way, coefficient))


def sampled(grid: Grid) -> Tensor:
    schedule = grid.of(SCHEDULE)
    return last(DDIM()(MIXTURE.denoise(schedule), X, schedule, noise_like(X)))


@pytest.mark.parametrize("steps", [5, 8])
def test_searched_levels_lead_nearer_to_the_ode_than_those_of_a_spacing(
    example: Any, steps: int
) -> None:
    teacher = Levels(levels=tuple(karras(SCHEDULE, 1.0, START, 60)))
    schedule = teacher.of(SCHEDULE)
    states = DDIM()(MIXTURE.denoise(schedule), X, schedule, noise_like(X))
    cost = example.deviations(X, states, schedule)
    assert cost.diagonal(-1).max() < 1e-9  # a step of the teacher leaves it nowhere
    chosen = example.cheapest(cost, steps)
    searched = Levels(levels=tuple(teacher.levels[level - 1] for level in chosen))
    exact = sampled(Levels(levels=tuple(karras(SCHEDULE, 1.0, START, 400))))
    others = [kind(steps=steps, start=START) for kind in (Even, LogSNR)]
    ours, even, log_snr = (rms(sampled(grid) - exact) for grid in (searched, *others))
    assert ours < 0.9 * even
    assert ours < 0.9 * log_snr


def test_the_levels_of_a_model_are_a_grid_that_it_is_sampled_with(
    example: Any, tmp_path: Path
) -> None:
    file = tiny.model(tmp_path / "model.safetensors", tiny.diffusion())
    guide = tiny.model(tmp_path / "guide.safetensors", tiny.classifier())
    model = adm.load(file, classifier=guide)
    for grid in example.search(model, [3, 5], count=3, scale=1.0):
        assert grid.levels[-1] == 19
        assert model.sample(count=2, sampler="ddim", grid=grid, scale=1.0).images.shape[0] == 2
