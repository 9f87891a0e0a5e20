"""Deviations, steps -> levels: the search finds the cheapest way, and it leads near the ODE."""

from itertools import combinations, pairwise

import pytest
import torch
from oracle import four_modes, last, noise_like, normal, rms
from torch import Tensor

from adm.diffusion import cosine
from adm.diffusion.fractional import karras
from adm.guidance import folded, scaled
from adm.samplers import Even, Grid, Levels, LogSNR, ddim
from adm.samplers.search import best, deviations

SCHEDULE, START = cosine(1000), 980
X = normal((24, 1, 2, 2), 0)
MIXTURE = four_modes()
LABELS = torch.arange(len(X)) % MIXTURE.classes


def random_costs(size: int, seed: int) -> Tensor:
    cost = normal((size, size), seed).abs()
    return cost.masked_fill(torch.ones(size, size).triu().bool(), torch.inf)


def total(cost: Tensor, levels: list[int], coefficient: float) -> float:
    """Of a way, term by term: the first step counts once, the last one most."""
    steps = [*pairwise([*reversed(levels), 0])]
    return sum(coefficient**i * float(cost[high, low]) for i, (high, low) in enumerate(steps))


@pytest.mark.parametrize("coefficient", [0.8, 1.0, 1.15])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_the_best_way_is_the_best_of_all(steps: int, coefficient: float) -> None:
    for seed in range(5):
        cost = random_costs(8, seed)
        chosen = best(cost, steps, coefficient)
        assert len(chosen) == steps
        assert chosen[-1] == 7
        ways = [[*inner, 7] for inner in combinations(range(1, 7), steps - 1)]
        assert chosen == min(ways, key=lambda way: total(cost, way, coefficient))


@pytest.mark.parametrize("steps", [8, 30])
def test_more_steps_than_levels_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"steps must be in 1\.\.7, got {steps}"):
        best(random_costs(8, 0), steps)


def guided(schedule, scale: float):  # type: ignore[no-untyped-def]
    gradient = scaled(MIXTURE.gradient(schedule, LABELS), scale)
    return folded(MIXTURE.denoise(schedule), gradient, schedule)


def sampled(grid: Grid, scale: float) -> Tensor:
    schedule = grid.of(SCHEDULE)
    return last(ddim(guided(schedule, scale), X, schedule, noise_like(X)))


def test_a_step_of_the_teacher_leaves_it_nowhere_and_one_over_several_levels_does() -> None:
    schedule = SCHEDULE.respaced(range(80, 1000, 90))
    states = list(ddim(guided(schedule, 1.0), X, schedule, noise_like(X)))
    deviation = deviations(X, states, schedule)
    assert deviation.shape == (schedule.last + 1, schedule.last + 1)
    assert deviation.diagonal(-1).max() < 1e-9
    below = torch.ones_like(deviation).tril(-1).bool()
    assert deviation[~below].isinf().all()
    assert (deviation.tril(-2)[below.tril(-2)] > 1e-4).all()


def test_a_deviation_is_that_of_a_step_by_hand() -> None:
    schedule = SCHEDULE.respaced(range(80, 1000, 90))
    states = list(ddim(guided(schedule, 1.0), X, schedule, noise_like(X)))
    deviation = deviations(X, states, schedule)
    skipping = SCHEDULE.respaced([170, 980])  # from the teacher's last level to its second
    x = next(iter(ddim(guided(skipping, 1.0), X, skipping, noise_like(X)))).x
    target = next(state.x for state in states if state.level == 2)
    away = ((x - target) / schedule.signal[2]).flatten(1).square().mean(dim=1).sqrt().mean()
    assert deviation[schedule.last, 2].item() == pytest.approx(away.item())


@pytest.mark.parametrize("scale", [0.0, 2.0])
@pytest.mark.parametrize("steps", [5, 8])
def test_a_searched_grid_is_nearer_to_the_ode_than_those_of_a_spacing(
    steps: int, scale: float
) -> None:
    teacher = Levels(levels=tuple(karras(SCHEDULE, 1.0, START, 60)))
    schedule = teacher.of(SCHEDULE)
    states = ddim(guided(schedule, scale), X, schedule, noise_like(X))
    levels = teacher.visited(SCHEDULE)
    chosen = best(deviations(X, states, schedule), steps)
    searched = Levels(levels=tuple(levels[level - 1] for level in chosen))
    exact = sampled(Levels(levels=tuple(karras(SCHEDULE, 1.0, START, 400))), scale)
    others = [kind(steps=steps, start=START) for kind in (Even, LogSNR)]
    ours, even, log_snr = (rms(sampled(grid, scale) - exact) for grid in (searched, *others))
    assert ours < 0.9 * even
    assert ours < 0.9 * log_snr
