"""features, features -> which images of one set lie among the other's.

A set's manifold is the union of a ball around each image, reaching to its k-th neighbour. The
numbers of `precision_recall` and `density_coverage` are means of what is found here. The values of
fake images tell how far precision and density may move with others of them; for recall and
coverage, whose values are of real images, groups of fake ones are left out (`leaving_out`).
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.features import comparable
from adm.metrics.leaving_out import MORE, LeavingOut
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
        without: the same without each group of fake images, where that was asked for.
    """

    fake_in_real: np.ndarray
    real_in_fake: np.ndarray
    balls: np.ndarray
    covered: np.ndarray
    without: LeavingOut | None = None


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
    leave_out: int | None = None,
) -> Membership:
    """(N, D) and (M, D) features -> who lies among whom, for all four numbers at once.

    A ball's surface belongs to it for precision and recall, as in the released evaluator, and not
    for density and coverage, as in their authors' package: so a set has density 1 against itself.

    Args:
        device: where distances are computed; the answer does not depend on it.
        real_reach: `reach(real, k)` with k at least the larger number of neighbours, where it is
            known already.
        leave_out: a seed, to see also what is held without each group of fake images; there must
            be `2 * GROUPS` of them.

    Raises:
        ValueError: not comparable, no more images than neighbours, or a reach of another set.
    """
    comparable(real, fake)
    most = max(neighbours, density_neighbours)
    if real_reach is None:
        real_reach = reach(real, most, device)
    _check_reach(real_reach, len(real), most)
    around_real = real_reach[:, neighbours - 1]
    around_real_5 = real_reach[:, density_neighbours - 1]
    more = MORE if leave_out is not None else 0
    near = nearest_others(fake, neighbours + more, device)
    around_fake = near.squared[:, neighbours - 1]
    without = None if leave_out is None else LeavingOut(near, neighbours, len(real), leave_out)
    found = _nobody(len(real), len(fake), without)
    own, radii = [around_fake] if without is None else without.radii, [around_real, around_real_5]
    for pairs in pairs_within(fake, real, own, radii, device):
        fakes, reals, squared = pairs
        found.fake_in_real[fakes[squared <= around_real[reals]]] = True
        found.real_in_fake[reals[squared <= around_fake[fakes]]] = True
        held = squared < around_real_5[reals]
        found.covered[reals[held]] = True
        np.add.at(found.balls, fakes[held], 1)
        if without is not None:
            without.add(pairs, held)
    return found


def _check_reach(known: np.ndarray, images: int, neighbours: int) -> None:
    if len(known) != images or known.shape[1] < neighbours:
        raise ValueError(
            f"{images} images and {neighbours} neighbours need a reach of as many rows and at "
            f"least as many columns, got {known.shape}; make it with reach(real, {neighbours})"
        )


def _nobody(real: int, fake: int, without: LeavingOut | None) -> Membership:
    """What is known before the first pair."""
    reals, fakes = np.zeros(real, bool), np.zeros(fake, bool)
    return Membership(fakes, reals, np.zeros(fake, np.int64), reals.copy(), without)
