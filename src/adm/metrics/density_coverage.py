"""Features, features -> density and coverage (Naeem et al. 2020, equations 6 and 8).

They measure what precision and recall do, but are robust to outliers.
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.bootstrap import mean_interval
from adm.metrics.jackknife import share_of_real
from adm.metrics.manifold import DENSITY_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import members, membership
from adm.metrics.metric import Metric, Score, Sets


class DensityCoverage(NamedTuple):
    """Fidelity and diversity; for two samples of one distribution both are about 1.

    Attributes:
        density: mean number of real balls that contain a fake image, divided by k; may exceed 1.
        coverage: proportion of real images whose ball contains a fake one, in 0..1.
    """

    density: float
    coverage: float


def density_coverage(
    real: np.ndarray,
    fake: np.ndarray,
    neighbours: int = NEIGHBOURS,
    device: str | torch.device = "cpu",
) -> DensityCoverage:
    """(N, D) and (M, D) features -> density and coverage.

    Balls are open, as in the authors' package: the density of a set against itself is 1.

    Raises:
        ValueError: shapes do not match, or no more real images than `neighbours`.
    """
    inside = membership(real, fake, 1, neighbours, device)
    balls = int(inside.balls.sum())
    return DensityCoverage(balls / (neighbours * len(fake)), float(inside.covered.mean()))


def _density_of(sets: Sets) -> Score | None:
    inside = sets.once(members)
    if inside is None or not sets.more_than(NEIGHBOURS):
        return None
    values = inside.balls / NEIGHBOURS
    value = float(values.mean())
    if not np.ptp(inside.balls):  # equal values, such as of samples in no ball, have no spread
        return Score(value)
    return Score(value, *mean_interval(values, sets.resamples, seed=sets.seed))


def _coverage_of(sets: Sets) -> Score | None:
    inside = sets.once(members)
    if inside is None or not sets.more_than(NEIGHBOURS):
        return None
    without = None if inside.jackknife is None else inside.jackknife.covered
    return share_of_real(inside.covered, without, len(inside.balls))


DENSITY = Metric(key="density", title="density", lower_is_better=False, score=_density_of)
COVERAGE = Metric(key="coverage", title="coverage", lower_is_better=False, score=_coverage_of)
