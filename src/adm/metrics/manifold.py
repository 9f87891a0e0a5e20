"""Features, features -> which images of each set lie in the manifold of the other.

A set's manifold is the union of a ball around each image, whose radius is the distance to its k-th
nearest neighbour. Precision, recall, density and coverage are means of what `membership` returns.
The values of the fake images give intervals for precision and density; recall and coverage, which
are means over real images, need the delete-a-group jackknife (`jackknife`).
"""

from typing import NamedTuple

import numpy as np
import torch

from adm.metrics.checks import check_comparable
from adm.metrics.jackknife import GROUPS, SPARE, DeleteAGroup
from adm.metrics.metric import Sets
from adm.metrics.neighbours import nearest_others, pairs_within

PRECISION_NEIGHBOURS = 3  # Kynkäänniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # Naeem et al. 2020


class Membership(NamedTuple):
    """Membership of N real and M fake images in the manifolds of each other.

    Attributes:
        fake_in_real: (M,) bool, whether a fake image is in the real manifold; precision.
        real_in_fake: (N,) bool, whether a real image is in the fake manifold; recall.
        balls: (M,) int64, number of real images' balls that contain the fake image; density.
        covered: (N,) bool, whether the real image's ball contains a fake one; coverage.
        jackknife: recall and coverage without each group of fake images, if requested.
    """

    fake_in_real: np.ndarray
    real_in_fake: np.ndarray
    balls: np.ndarray
    covered: np.ndarray
    jackknife: DeleteAGroup | None = None


def neighbour_distances(
    features: np.ndarray, k: int, device: str | torch.device = "cpu"
) -> np.ndarray:
    """(N, D) features -> (N, k) float64, squared distances to the k nearest others, ascending.

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
    real_distances: np.ndarray | None = None,
    jackknife_seed: int | None = None,
) -> Membership:
    """(N, D) and (M, D) features -> what all four scores need, in one pass over the pairs.

    Balls are closed for precision and recall, as in the released evaluator, and open for density
    and coverage, as in their authors' package: so the density of a set against itself is 1.

    Args:
        device: where distances are computed; the result does not depend on it.
        real_distances: `neighbour_distances(real, k)` with k at least the larger number of
            neighbours, if it is known already.
        jackknife_seed: a seed for the groups of the jackknife, which needs at least `2 * GROUPS`
            fake images; None for no jackknife.

    Raises:
        ValueError: not comparable, no more images than neighbours, or distances of another set.
    """
    check_comparable(real, fake)
    most = max(neighbours, density_neighbours)
    if real_distances is None:
        real_distances = neighbour_distances(real, most, device)
    _check_distances(real_distances, len(real), most)
    real_radii = real_distances[:, neighbours - 1]
    density_radii = real_distances[:, density_neighbours - 1]
    near = nearest_others(fake, neighbours + (0 if jackknife_seed is None else SPARE), device)
    fake_radii, jackknife = near.squared[:, neighbours - 1], None
    if jackknife_seed is not None:
        jackknife = DeleteAGroup(near, neighbours, len(real), jackknife_seed)
    reals, fakes = np.zeros(len(real), bool), np.zeros(len(fake), bool)
    balls = np.zeros(len(fake), np.int64)
    members = Membership(fakes, reals, balls, reals.copy(), jackknife)
    radii = [fake_radii] if jackknife is None else jackknife.radii
    for pairs in pairs_within(fake, real, radii, [real_radii, density_radii], device):
        fakes, reals, squared = pairs
        members.fake_in_real[fakes[squared <= real_radii[reals]]] = True
        members.real_in_fake[reals[squared <= fake_radii[fakes]]] = True
        in_real_ball = squared < density_radii[reals]
        members.covered[reals[in_real_ball]] = True
        np.add.at(members.balls, fakes[in_real_ball], 1)
        if jackknife is not None:
            jackknife.add(pairs, in_real_ball)
    return members


def _check_distances(distances: np.ndarray, images: int, neighbours: int) -> None:
    if len(distances) != images or distances.shape[1] < neighbours:
        raise ValueError(
            f"real_distances must be ({images}, k) with k >= {neighbours}, got {distances.shape}; "
            f"compute them with neighbour_distances(real, {neighbours})"
        )


def members(sets: Sets) -> Membership | None:
    """Membership in sets, which all four scores share; None if they are too small for precision."""
    if sets.real is None or not sets.more_than(PRECISION_NEIGHBOURS):
        return None
    both = sets.more_than(DENSITY_NEIGHBOURS)
    return membership(
        sets.real,
        sets.fake,
        density_neighbours=DENSITY_NEIGHBOURS if both else PRECISION_NEIGHBOURS,
        device=sets.device,
        real_distances=sets.real_distances if both else None,
        jackknife_seed=sets.seed if len(sets.fake) >= 2 * GROUPS else None,
    )
