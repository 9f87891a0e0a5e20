"""features -> who lies among whom, and the four shares computed from it."""

import numpy as np
import pytest

from adm.metrics import (
    density_coverage,
    membership,
    neighbour_distances,
    precision_recall,
)
from adm.metrics.manifold import Membership

RANDOM = np.random.default_rng(0)
REAL, FAKE = RANDOM.normal(size=(300, 12)), RANDOM.normal(0.4, 1, size=(220, 12))


def four(members: Membership) -> tuple[float, float, float, float]:
    shares = (members.fake_in_real, members.real_in_fake, members.balls / 5, members.covered)
    return tuple(float(share.mean()) for share in shares)  # type: ignore[return-value]


@pytest.mark.parametrize("ties", [False, True])
def test_the_four_shares_are_those_of_the_definition(ties: bool) -> None:
    # Whole numbers have exact distances, so that many images lie on the surface of a ball.
    real, fake = (np.round(each[:, :4] * 2) if ties else each for each in (REAL, FAKE))

    def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.square(a[:, None] - b[None]).sum(axis=2)

    across = squared_distances(real, fake)
    around_real, around_fake = (np.sort(squared_distances(s, s), axis=1) for s in (real, fake))
    expected = (
        (across <= around_real[:, 3:4]).any(axis=0).mean(),
        (across <= around_fake[:, 3]).any(axis=1).mean(),
        (across < around_real[:, 5:6]).sum() / (5 * len(fake)),
        (across.min(axis=1) < around_real[:, 5]).mean(),
    )
    assert four(membership(real, fake)) == pytest.approx(expected)
    assert (*precision_recall(real, fake), *density_coverage(real, fake)) == pytest.approx(expected)
    assert min(expected) > 0.05  # none of them is decided by an empty set
    assert max(expected) < 0.999


def test_a_set_against_itself_has_all_four_at_one() -> None:
    assert four(membership(REAL, REAL)) == (1, 1, 1, 1)
    assert four(membership(REAL, REAL + 100)) == (0, 0, 0, 0)


def test_an_outlier_moves_precision_and_hardly_density() -> None:
    outlier = np.concatenate([REAL, np.full((1, 12), 40.0)])
    far = FAKE + 20
    assert precision_recall(REAL, far).precision == 0
    assert precision_recall(outlier, far).precision > 0.9
    assert density_coverage(outlier, far).density <= 1 / 5


def test_known_distances_must_be_this_set_s() -> None:
    for wrong in (neighbour_distances(FAKE, 5), neighbour_distances(REAL, 4)):
        with pytest.raises(ValueError, match=r"with neighbour_distances\(real, 5\)"):
            membership(REAL, FAKE, real_distances=wrong)


@pytest.mark.parametrize("score", [precision_recall, density_coverage])
def test_what_cannot_be_scored_is_refused(score) -> None:
    with pytest.raises(ValueError, match="fewer neighbours"):
        score(REAL[:3], FAKE)
    with pytest.raises(ValueError, match="same extractor"):
        score(REAL, FAKE[:, :5])
    with pytest.raises(ValueError, match="not finite, first in row 2"):
        score(REAL, np.where(np.arange(220)[:, None] == 2, np.nan, FAKE))
    for none in (FAKE[:0], FAKE[:, :0], FAKE[0]):
        with pytest.raises(ValueError, match="must be"):
            score(REAL, none)
