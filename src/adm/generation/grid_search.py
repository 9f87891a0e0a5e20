"""DiffusionGenerator, numbers of steps -> StoredGrids that deviate least from its paths."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from adm.diffusion.fractional import default_start, karras
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import OnStep
from adm.limits import MOST_SEARCHED
from adm.models.identity import identify
from adm.models.stored_grids import StoredGrid
from adm.samplers import DDIM, Levels, State
from adm.samplers.search import best, deviations

DIGITS = 3  # of a stored level, after the point


def teacher_of(generator: DiffusionGenerator, steps: int = MOST_SEARCHED) -> DiffusionGenerator:
    """Return the generator of the same images by many steps of DDIM.

    They start where the generator's grid does, and go down to level 1.
    """
    schedule = generator.model.schedule
    start = generator.sampling.grid.start or default_start(schedule)
    levels = karras(schedule, 1.0, start, min(steps, start - 1))
    rounded = tuple(round(level, DIGITS) for level in levels)
    sampling = replace(generator.sampling, sampler=DDIM(), grid=Levels(levels=rounded))
    return replace(generator, sampling=sampling)


def search(
    teacher: DiffusionGenerator,
    labels: Tensor | None,
    count: int,
    steps: Sequence[int],
    on_step: OnStep | None = None,
) -> list[StoredGrid]:
    """Search the levels for several numbers of steps.

    Args:
        labels: (count,) int64, or None.
        count: number of images.
        steps: each from 2 to the teacher's number of steps.
        on_step: called after every step with the number of images in the batch.

    Raises:
        ValueError: a number of steps is out of range.
    """
    visited = teacher.sampling.grid.visited(teacher.model.schedule)
    for number in steps:
        if not 2 <= number <= len(visited):
            raise ValueError(f"steps must be in 2..{len(visited)}, got {number}")
    cost = _mean_deviations(teacher, labels, count, on_step)
    of_model = identify(teacher.model.path)
    guide = teacher.classifier if teacher.sampling.by_classifier else None
    of_guide = None if guide is None else identify(guide.path)
    grids: list[StoredGrid] = []
    for number in steps:
        chosen = best(cost, number)
        deviation = sum(float(cost[high, low]) for low, high in pairwise([0, *chosen]))
        stored = StoredGrid(
            steps=number,
            start=int(visited[-1]),
            scale=teacher.sampling.scale,
            levels=tuple(float(visited[level - 1]) for level in chosen),
            deviation=deviation,
            model=of_model,
            classifier=of_guide,
        )
        grids.append(stored)
    return grids


def _mean_deviations(
    teacher: DiffusionGenerator, labels: Tensor | None, count: int, on_step: OnStep | None
) -> Tensor:
    schedule, total = teacher.schedule, torch.zeros(())
    for first in range(0, count, teacher.block):
        indices = range(first, min(first + teacher.block, count))
        chosen = None if labels is None else labels[indices.start : indices.stop]
        start = teacher.noise(indices).start()
        states: list[State] = []
        for state in teacher.trajectory(chosen, indices):
            states.append(state)
            if on_step is not None:
                on_step(len(indices))
        total = total + len(indices) * deviations(start, states, schedule)
    return total / count
