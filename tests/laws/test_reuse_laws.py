"""Gradient, every second or fourth level -> Gradient: what reuse costs, on the mixture."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from oracle import four_modes, last, normal, rms

from adm.diffusion import cosine
from adm.guidance import every, folded, scaled
from adm.samplers import DDIM, ClassifierGuide

DATA, SCHEDULE = four_modes(), cosine(1000)
LABEL = torch.arange(9) % DATA.classes


@cache
def sampled(steps, *, scale=2.0, **fields):
    """DDIM of the mixture by its exact gradient, with settings of guidance; None for none."""
    levels = [round(i * 980 / steps) for i in range(1, steps + 1)]
    schedule, x = SCHEDULE.respaced(levels), normal((len(LABEL), 1, 2, 2), 5)
    term = ClassifierGuide(scale=scale, **fields)
    pull = term.apply(DATA.gradient(schedule, LABEL), levels)
    denoise = folded(DATA.denoise(schedule), pull, schedule)
    return last(DDIM()(denoise, x, schedule, lambda *_: torch.zeros_like(x)))


@pytest.mark.parametrize("count", [2, 4])
def test_the_error_of_reuse_falls_with_the_step(count):
    """In first order: twice the steps, about half the error."""
    errors = [rms(sampled(n, every=count) - sampled(n)) for n in (25, 50, 100)]
    assert errors[0] > 1e-3
    assert all(1.4 < a / b < 2.8 for a, b in pairwise(errors)), errors


def test_a_reused_gradient_is_multiplied_by_the_scale_of_the_level_that_it_is_used_at():
    def of_level(x_t, level, prediction):
        return torch.full_like(x_t, level)

    x, pull = torch.ones(1, 1, 1, 1), scaled(every(of_level, 2), lambda level: 10.0**level)
    assert [pull(x, level, None).item() for level in (4, 3, 2)] == [40000, 4000, 200]
