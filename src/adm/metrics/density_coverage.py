"""Features, features -> density and coverage (Naeem et al. 2020, equations 6 and 8).

They are what precision and recall are, but robust to outliers.
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.checks import check_comparable
from adm.metrics.manifold import DENSITY_NEIGHBOURS as NEIGHBOURS
from adm.metrics.manifold import neighbour_distances
from adm.metrics.neighbours import pairs_within


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
    check_comparable(real, fake, minimum=1)
    radii = neighbour_distances(real, neighbours, device)[:, -1]
    balls, covered = 0, np.zeros(len(real), bool)
    for _, reals, squared in pairs_within(fake, real, [], [radii], device):
        held = squared < radii[reals]
        balls += int(held.sum())
        covered[reals[held]] = True
    return DensityCoverage(balls / (neighbours * len(fake)), float(covered.mean()))
