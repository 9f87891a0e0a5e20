"""Model, steps -> the noise levels to visit, searched for the model, as specs of --grid.

    python examples/search_grid.py fashion --steps 5 10

prints `levels:125.845,401.451,720.498,882.725,990` and ten levels. Some images are sampled by 60
steps of DDIM. Between any two of these levels a single step leaves the trajectory by some distance,
and the levels found have the least sum of these (Chen et al. 2024, "On the Trajectory Regularity of
ODE-based Diffusion Sampling"): images follow curves of the same shape, so that the best levels for
a few steps can be read off a few finely sampled ones.
"""

import argparse
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

import adm
from adm.diffusion import Schedule
from adm.diffusion.fractional import default_start, karras
from adm.samplers import Levels, State
from adm.spec import text

TEACHER = 60  # steps of DDIM
COEFFICIENT = 1.15  # of the paper's section 4
DIGITS = 3  # of a level, after the point


def deviations(start: Tensor, states: Iterable[State], schedule: Schedule) -> Tensor:
    """Return how far one DDIM step from each level of a teacher leads from the teacher.

    Both ends are compared as x_t / signal, in which DDIM is Euler's method: an error there is one
    of the finished image, as far as later steps do not correct it.

    Args:
        start: (B, C, H, W) the noise that the teacher starts from.
        states: the teacher's states after every step, those of DDIM through `schedule`.

    Returns:
        (T + 1, T + 1) float64, the root mean square of step (from, to) over pixels, mean over
        images; infinite where `to` is not below `from`.
    """
    size, ratio = schedule.last + 1, schedule.sigma / schedule.signal
    distance = torch.full((size, size), torch.inf, dtype=torch.float64)
    scaled = [start / schedule.signal[-1].to(start)]
    steps: list[tuple[Tensor, Tensor]] = []
    for state in states:
        scaled.append(state.x / schedule.signal[state.level].to(state.x))
        steps.append((state.prediction.x_0, state.prediction.noise))
    for index, (x_0, noise) in enumerate(steps):
        level = schedule.last - index
        for to in range(level):
            reached = x_0 + ratio[to].to(x_0) * noise
            away = (reached - scaled[schedule.last - to]).flatten(1)
            distance[level, to] = away.square().mean(dim=1).sqrt().double().mean()
    return distance


def cheapest(cost: Tensor, steps: int, coefficient: float = COEFFICIENT) -> list[int]:
    """Return the levels of the cheapest way from level T to the clean image, ascending.

    The cost of a way is that of its first step, plus `coefficient` times the cost of the rest. With
    a coefficient above 1, later steps weigh more: what they miss is corrected by fewer steps.

    Args:
        cost: (T + 1, T + 1) cost of a step (from, to); infinite where there is none.
        steps: of the way, in 1..T.
    """
    value, choices = cost[:, 0], list[Tensor]()  # from each level, with one step left
    for _ in range(steps - 1):
        value, chosen = (cost + coefficient * value).min(dim=1)
        choices.append(chosen)
    level = len(cost) - 1
    if not value[level].isfinite():
        raise ValueError(f"steps must be in 1..{level}, got {steps}")
    visited = [level]
    for chosen in reversed(choices):
        level = int(chosen[level])
        visited.append(level)
    return visited[::-1]


def search(
    model: adm.Pipeline, steps: Sequence[int], count: int, scale: float | None, seed: int = 0
) -> list[Levels]:
    """Return the levels for each number of steps, by `count` images of classes in turn."""
    start = model.sampling.grid.start or default_start(model.schedule)
    fine = karras(model.schedule, 1.0, start, min(TEACHER, start - 1))
    levels = tuple(round(level, DIGITS) for level in fine)
    grid = Levels(levels=levels)
    generator = model.generator(sampler="ddim", grid=grid, scale=scale, seed=seed)
    classes, total = len(generator.classes), torch.zeros(())
    for first in range(0, count, generator.block):
        indices = range(first, min(first + generator.block, count))
        labels = torch.tensor(indices) % classes if classes else None
        states = generator.trajectory(labels, indices)
        found = deviations(generator.x_start(indices), states, generator.schedule)
        total = total + len(indices) * found
    chosen = (cheapest(total / count, number) for number in steps)
    return [Levels(levels=tuple(levels[level - 1] for level in each)) for each in chosen]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", help="a path or a shipped name")
    parser.add_argument("--steps", type=int, nargs="+", default=[5])
    parser.add_argument("--scale", type=float, help="of guidance; that of the model by default")
    parser.add_argument("--count", type=int, default=256, help="images")
    args = parser.parse_args()
    for each in search(adm.load(args.model), args.steps, args.count, args.scale):
        print(text(each))
