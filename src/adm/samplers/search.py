"""States of a teacher -> deviations of its steps; deviations, steps -> the levels to visit.

The search of Chen et al. 2024, "On the Trajectory Regularity of ODE-based Diffusion Sampling":
images follow curves of the same shape, so that the best levels for a few steps can be read off a
few finely sampled ones.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from adm.diffusion import Schedule
from adm.samplers.state import State

COEFFICIENT = 1.15  # Chen et al. 2024, section 4


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


def best(cost: Tensor, steps: int, coefficient: float = COEFFICIENT) -> list[int]:
    """Return the levels of the cheapest way from level T to the clean image.

    The cost of a way is that of its first step, plus `coefficient` times the cost of the rest. With
    a coefficient above 1, later steps weigh more: what they miss is corrected by fewer steps.

    Args:
        cost: (T + 1, T + 1) cost of a step (from, to); infinite where there is none.
        steps: of the way, in 1..T.

    Returns:
        The `steps` levels at which they start, ascending; the last one is T.

    Raises:
        ValueError: `steps` is out of range.
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
