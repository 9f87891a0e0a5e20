"""features, features -> which images of one set lie among the other's.

A set's manifold is the union of a ball around each image, reaching to its k-th neighbour. The
numbers of `precision_recall` and `density_coverage` are means of what is found here; the values of
the single images are what their intervals are drawn from.
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.features import comparable
from adm.metrics.neighbours import nearest_others, pairs_within

PRECISION_NEIGHBOURS = 3  # Kynkäänniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # Naeem et al. 2020


class Membership(NamedTuple):
    """What is known of each image: N real ones, M fake ones.

    Attributes:
        fake_in_real: (M,) bool: precision's.
        real_in_fake: (N,) bool: recall's.
        balls: (M,) int64, real images' balls that hold the fake one: density's.
        covered: (N,) bool, whether a fake image is in the real one's ball: coverage's.
    """

    fake_in_real: np.ndarray
    real_in_fake: np.ndarray
    balls: np.ndarray
    covered: np.ndarray


def reach(features: np.ndarray, k: int, device: str | torch.device = "cpu") -> np.ndarray:
    """(N, D) features -> (N, k) float64, squared distances to the k nearest others.

    Raises:
        ValueError: no more images than k, or features that cannot be scored.
    """
    return nearest_others(features, k, device).squared


def membership(
    real: np.ndarray,
    fake: np.ndarray,
    neighbours: int = PRECISION_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
    device: str | torch.device = "cpu",
    real_reach: np.ndarray | None = None,
) -> Membership:
    """(N, D) and (M, D) features -> who lies among whom, for all four numbers at once.

    A ball's surface belongs to it for precision and recall, as in the released evaluator, and not
    for density and coverage, as in their authors' package: so a set has density 1 against itself.

    Args:
        device: where distances are computed; the answer does not depend on it.
        real_reach: `reach(real, k)` with k at least the larger number of neighbours, where it is
            known already.

    Raises:
        ValueError: not comparable, no more images than neighbours, or a reach of another set.
    """
    comparable(real, fake)
    most = max(neighbours, density_neighbours)
    if real_reach is None:
        real_reach = reach(real, most, device)
    elif len(real_reach) != len(real) or real_reach.shape[1] < most:
        raise ValueError(
            f"{len(real)} images and {most} neighbours need a reach of as many rows and at least "
            f"as many columns, got {real_reach.shape}; make it with reach(real, {most})"
        )
    around_real = real_reach[:, neighbours - 1]
    around_real_5 = real_reach[:, density_neighbours - 1]
    around_fake = reach(fake, neighbours, device)[:, neighbours - 1]
    found = Membership(*(np.zeros(n, t) for n, t in _shapes(len(real), len(fake))))
    radii = [around_real, around_real_5]
    for fakes, reals, squared in pairs_within(fake, real, [around_fake], radii, device):
        found.fake_in_real[fakes[squared <= around_real[reals]]] = True
        found.real_in_fake[reals[squared <= around_fake[fakes]]] = True
        held = squared < around_real_5[reals]
        found.covered[reals[held]] = True
        np.add.at(found.balls, fakes[held], 1)
    return found


def _shapes(real: int, fake: int) -> list[tuple[int, type]]:
    return [(fake, bool), (real, bool), (fake, np.int64), (real, bool)]
