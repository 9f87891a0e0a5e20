"""features, features -> density and coverage: precision and recall that one outlier cannot move.

Naeem et al. 2020, equations 6 and 8.
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.features import comparable
from adm.metrics.manifold import DENSITY_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import reach
from adm.metrics.neighbours import pairs_within


class DensityCoverage(NamedTuple):
    """Fidelity and diversity; both expect 1 or nearly 1 of two samples of one distribution.

    Attributes:
        density: real balls that a fake image lies in, divided by k; may exceed 1.
        coverage: share of real images whose ball holds a fake one, in 0..1.
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

    A ball's surface does not belong to it, as in the authors' package: the density of a set
    against itself is 1.

    Raises:
        ValueError: shapes do not match, or no more real images than `neighbours`.
    """
    comparable(real, fake, least=1)
    radii = reach(real, neighbours, device)[:, -1]
    balls, covered = 0, np.zeros(len(real), bool)
    for _, reals, squared in pairs_within(fake, real, [], [radii], device):
        held = squared < radii[reals]
        balls += int(held.sum())
        covered[reals[held]] = True
    return DensityCoverage(balls / (neighbours * len(fake)), float(covered.mean()))
