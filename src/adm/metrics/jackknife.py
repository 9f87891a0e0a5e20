"""Neighbours, pairs -> delete-a-group jackknife intervals for recall and coverage.

Recall and coverage are proportions of the real images, and resampling those does not show how far
they would move with other fake images. The delete-a-group jackknife does (Kott 2001, "The
delete-a-group jackknife"; Shao and Wu 1989 for scores that are not smooth): the score is recomputed
without each of G groups of fake images, and with S_g those scores,

    variance = (G - 1) / G  sum_g (S_g - mean S)^2.

The half-width of the interval is its square root times Student's t with G - 1 degrees of freedom.
Where all or none of the real images count, no group changes that, although other fake images might:
so the interval extends at least as far as Wilson's for a proportion of 0 or 1 of as many images.
"""

import numpy as np

from adm.metrics.accuracy import wilson
from adm.metrics.bootstrap import Interval
from adm.metrics.metric import Score
from adm.metrics.neighbours import Neighbours, Pairs

GROUPS = 20
STUDENT = 2.093  # 97.5% quantile of Student's t with 19 degrees of freedom
MAX_PAIRS = 1 << 17  # processed at a time
SPARE = 3  # neighbours beyond the k-th; few images have more of their nearest ones in one group


class DeleteAGroup:
    """Which real images count for recall and coverage without each group of fake images.

    Attributes:
        group: (M,) the group of each fake image.
        radii: `SPARE + 1` arrays (M,), all squared radii that pairs are compared with.
        recalled: (N, G) bool, whether the real image is in a ball of a fake one outside the group.
        covered: (N, G) bool, whether its own ball contains a fake image outside the group.
    """

    def __init__(self, near: Neighbours, neighbours: int, real: int, seed: int = 0) -> None:
        """Start with no pairs.

        Args:
            near: the `neighbours + SPARE` nearest other fake images of each fake image.
            neighbours: k, which defines the radius of a fake image's ball.
            real: number of real images.
            seed: of the groups.
        """
        count = len(near.indices)
        self.group = np.random.default_rng(seed).permutation(count) % GROUPS
        self.radii = list(near.squared.T[neighbours - 1 :])
        without = [self._radii_without(near, neighbours, group) for group in range(GROUPS)]
        self._radii = np.stack(without, axis=1)  # (M, G)
        self.recalled, self.covered = (np.zeros((real, GROUPS), bool) for _ in range(2))

    def _radii_without(self, near: Neighbours, neighbours: int, group: int) -> np.ndarray:
        """(M,) squared distances to the k-th neighbour outside a group."""
        outside = np.cumsum(self.group[near.indices] != group, axis=1)
        place = np.where(outside[:, -1] < neighbours, -1, np.argmax(outside >= neighbours, axis=1))
        return near.squared[np.arange(len(place)), place]

    def add(self, pairs: Pairs, in_real_ball: np.ndarray) -> None:
        """Add pairs of a fake and a real image.

        Args:
            pairs: P of them, fake images first.
            in_real_ball: (P,) bool, whether the fake image is in the real one's ball.
        """
        for start in range(0, len(in_real_ball), MAX_PAIRS):
            part = slice(start, start + MAX_PAIRS)
            fakes, reals, squared = (each[part] for each in pairs)
            outside = self.group[fakes][:, None] != np.arange(GROUPS)
            within = squared[:, None] <= self._radii[fakes]
            for table, inside in (
                (self.recalled, within),
                (self.covered, in_real_ball[part, None]),
            ):
                pair, group = np.nonzero(outside & inside)
                table[reals[pair], group] = True


def jackknife_interval(value: float, without: np.ndarray, count: int) -> Interval:
    """The interval of a proportion from its values without each group.

    Args:
        value: the proportion, in 0..1.
        without: (`GROUPS`,) the same without each group.
        count: number of fake images.
    """
    spread = np.sqrt((GROUPS - 1) / GROUPS * ((without - without.mean()) ** 2).sum())
    half, unseen = float(STUDENT * spread), wilson(0, count).high
    low, high = min(value - half, 1 - unseen), max(value + half, unseen)
    return Interval(max(0.0, low), min(1.0, high))


def share_of_real(inside: np.ndarray, without: np.ndarray | None, count: int) -> Score:
    """The proportion of the real images that are inside, with its interval.

    Args:
        inside: (N,) bool.
        without: (N, G) bool, the same without each group; None for no interval.
        count: number of fake images.
    """
    value = float(inside.mean())
    if without is None:
        return Score(value)
    return Score(value, *jackknife_interval(value, without.mean(axis=0), count))
