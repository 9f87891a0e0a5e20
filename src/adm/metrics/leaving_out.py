"""fake images without each of their groups -> who is still held, and an interval for such shares.

Recall and coverage are shares of real images, and other fake images would move them: by how much,
the real images cannot tell. The delete-a-group jackknife does (Kott 2001, "The delete-a-group
jackknife"; Shao and Wu 1989 for scores that are no smooth function): the score is found again
without each of G groups of fake images, and with S those scores,

    variance = (G - 1) / G  sum_g (S_g - mean S)^2,

whose root, times Student's t of G - 1 degrees, is the half-width. Where all or none are held, no
group changes that, and other fake images still might: the interval reaches at least to where
Wilson's does for a share of as many fake images that is 0 or 1.
"""

import numpy as np

from adm.metrics.accuracy import wilson
from adm.metrics.bootstrap import Interval
from adm.metrics.neighbours import Nearest, Pairs

GROUPS = 20
STUDENT = 2.093  # its 97.5% quantile at 19 degrees of freedom
AT_ONCE = 1 << 17  # pairs
MORE = 3  # neighbours beyond the k-th, of which a group rarely holds as many


class LeavingOut:
    """Which real images are held without each group of fake ones, as pairs come by.

    Attributes:
        radii: (MORE + 1) of (M,), every squared radius that is compared with.
        recalled: (N, G) bool, whether a ball of a fake image outside the group holds the real one.
        covered: (N, G) bool, whether the real one's ball holds a fake image outside the group.
    """

    def __init__(self, near: Nearest, neighbours: int, real: int, seed: int = 0) -> None:
        """`near`: the `neighbours + MORE` nearest other fake images of each."""
        count = len(near.indices)
        self.group = np.random.default_rng(seed).permutation(count) % GROUPS
        self.radii = list(near.squared.T[neighbours - 1 :])
        self.reach = np.stack([self._without(near, neighbours, g) for g in range(GROUPS)], axis=1)
        self.recalled, self.covered = (np.zeros((real, GROUPS), bool) for _ in range(2))

    def _without(self, near: Nearest, neighbours: int, group: int) -> np.ndarray:
        """(M,) squared distances to the k-th neighbour outside a group."""
        outside = np.cumsum(self.group[near.indices] != group, axis=1)
        place = np.where(outside[:, -1] < neighbours, -1, np.argmax(outside >= neighbours, axis=1))
        return near.squared[np.arange(len(place)), place]

    def add(self, pairs: Pairs, in_real: np.ndarray) -> None:
        """Pairs of a fake and a real image; `in_real` (P,) says whose real ball holds the fake."""
        for start in range(0, len(in_real), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            fakes, reals, squared = (each[part] for each in pairs)
            outside = self.group[fakes][:, None] != np.arange(GROUPS)
            within = squared[:, None] <= self.reach[fakes]
            for table, held in ((self.recalled, within), (self.covered, in_real[part, None])):
                pair, group = np.nonzero(outside & held)
                table[reals[pair], group] = True

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Recall and coverage (G,) without each group."""
        return self.recalled.mean(axis=0), self.covered.mean(axis=0)


def jackknife_interval(value: float, without: np.ndarray, count: int) -> Interval:
    """A share in 0..1, and the same without each group (G,) -> its interval.

    Args:
        count: of the fake images.

    Raises:
        ValueError: another number of groups than `GROUPS`.
    """
    if without.shape != (GROUPS,):
        raise ValueError(f"the interval is for {GROUPS} groups, got {without.shape}")
    spread = np.sqrt((GROUPS - 1) / GROUPS * ((without - without.mean()) ** 2).sum())
    half, unseen = float(STUDENT * spread), wilson(0, count).high
    low, high = min(value - half, 1 - unseen), max(value + half, unseen)
    return Interval(max(0.0, low), min(1.0, high))
