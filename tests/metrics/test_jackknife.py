"""Delete-a-group jackknife: recall and coverage without each group, and their intervals."""

import numpy as np
import pytest

from adm.metrics import Sets, membership, neighbour_distances, statistics
from adm.metrics.accuracy import wilson
from adm.metrics.density_coverage import COVERAGE
from adm.metrics.jackknife import GROUPS, jackknife_interval
from adm.metrics.precision_recall import RECALL

RANDOM = np.random.default_rng(0)
REAL, FAKE = RANDOM.normal(size=(300, 8)), RANDOM.normal(0.3, 0.9, size=(240, 8))


def test_leaving_out_a_group_is_scoring_without_its_images() -> None:
    without = membership(REAL, FAKE, jackknife_seed=3).jackknife
    assert without is not None
    for group in range(GROUPS):
        rest = membership(REAL, FAKE[without.group != group])
        assert np.array_equal(without.recalled[:, group], rest.real_in_fake)
        assert np.array_equal(without.covered[:, group], rest.covered)


def test_the_jackknife_changes_no_score() -> None:
    plain, closer = membership(REAL, FAKE), membership(REAL, FAKE, jackknife_seed=0)
    for one, other in zip(plain[:4], closer[:4], strict=True):
        assert np.array_equal(one, other)


def test_groups_are_of_one_size_and_drawn_by_the_seed() -> None:
    groups = [membership(REAL, FAKE, jackknife_seed=seed).jackknife for seed in (1, 1, 2)]
    one, same, other = (each.group for each in groups if each is not None)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert set(np.bincount(one, minlength=GROUPS)) == {len(FAKE) // GROUPS}


def test_intervals_stay_within_0_and_1() -> None:
    wild = np.linspace(0, 1, GROUPS)
    assert jackknife_interval(0.5, wild, 100) == (0, 1)


def test_a_share_that_no_group_moves_is_certain_but_near_0_and_1() -> None:
    """There other fake images may do what none of these did; see Wilson's interval."""
    unseen = wilson(0, 100).high
    for value, interval in (
        (0.5, (0.5, 0.5)),
        (0.0, (0, unseen)),
        (unseen / 2, (unseen / 2, unseen)),
        (1 - unseen / 2, (1 - unseen, 1 - unseen / 2)),
        (1.0, (1 - unseen, 1)),
    ):
        assert jackknife_interval(value, np.full(GROUPS, value), 100) == pytest.approx(interval)


@pytest.mark.parametrize("metric", [RECALL, COVERAGE])
def test_few_fake_images_that_reach_no_real_one_leave_room_however_many_are_real(metric) -> None:
    """Of M that reach none, up to Wilson's share may: the rule of three."""
    for real in (REAL, REAL[:100]):
        given = {"fake": FAKE + 100, "real": real}
        known = {f"{name}_statistics": statistics(each) for name, each in given.items()}
        score = metric.score(Sets(**given, **known))
        assert (score.value, score.low) == (0, 0)
        assert score.high == pytest.approx(wilson(0, len(FAKE)).high)


def test_the_interval_of_a_mean_is_the_standard_error_s() -> None:
    """A share of the images themselves: sqrt(p (1 - p) / N), times Student's t."""
    random, halves = np.random.default_rng(0), []
    for _ in range(200):
        values, group = random.random(400) < 0.3, random.permutation(400) % GROUPS
        replicates = np.array([values[group != one].mean() for one in range(GROUPS)])
        low, high = jackknife_interval(float(values.mean()), replicates, 400)
        halves.append((high - low) / 2)
    assert np.mean(halves) == pytest.approx(2.093 * np.sqrt(0.3 * 0.7 / 400), rel=0.05)


@pytest.mark.slow
def test_intervals_contain_the_truth_at_least_as_often_as_stated() -> None:
    """Of recall and coverage, for other fake images; a jackknife's variance is not too small.

    Efron and Stein 1981: its expectation is at least the variance.
    """
    random, width, count = np.random.default_rng(1), 16, 200
    real = random.normal(size=(600, width))
    around, experiments = neighbour_distances(real, 5), {"recall": [], "coverage": []}
    for seed in range(80):
        fake = random.normal(0, 0.8, size=(count, width))
        members = membership(real, fake, real_distances=around, jackknife_seed=seed)
        assert members.jackknife is not None
        values = members.real_in_fake.mean(), members.covered.mean()
        tables = members.jackknife.recalled, members.jackknife.covered
        for name, value, table in zip(experiments, values, tables, strict=True):
            experiments[name].append((value, jackknife_interval(value, table.mean(axis=0), count)))
    for name, pairs in experiments.items():
        truth = np.mean([value for value, _ in pairs])
        inside = np.mean([low <= truth <= high for _, (low, high) in pairs])
        widths = np.mean([high - low for _, (low, high) in pairs]) / 2 / 2.093
        print(f"{name}: inside in {inside:.1%}, {widths:.4f}, {np.std([v for v, _ in pairs]):.4f}")
        assert inside >= 0.9
        assert widths < 2 * np.std([value for value, _ in pairs])
