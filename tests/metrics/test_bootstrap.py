"""resampled images -> intervals as wide as the spread of the scores."""

import numpy as np
import pytest

from adm.metrics import (
    centred_interval,
    frechet_distance,
    frechet_score,
    inception_score,
    inception_score_interval,
    kernel_distance,
    kernel_distance_of_all,
    mean_interval,
    resample,
    statistics,
)
from adm.metrics.bootstrap import subset_interval

RANDOM = np.random.default_rng(0)
REAL = statistics(np.random.default_rng(1).normal(size=(4000, 6)))


def fakes(seed: int, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.2, size=(count, 6))


def probabilities(seed: int, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(8, 0.3), size=count)


def test_a_mean_s_interval_is_the_normal_one() -> None:
    values = RANDOM.normal(3, 2, size=900)
    low, high = mean_interval(values, resamples=4000)
    half = 1.96 * values.std() / 30
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_the_interval_depends_on_the_seed_and_not_on_chunks(monkeypatch) -> None:
    values = RANDOM.random(50)
    first = mean_interval(values, seed=1)
    assert first == mean_interval(values, seed=1) != mean_interval(values, seed=2)
    monkeypatch.setitem(mean_interval.__globals__, "MAX_DRAWS", 70)
    assert mean_interval(values, seed=1) == first


def test_resampling_s_bias_is_not_the_estimate_s() -> None:
    low, high = centred_interval(5.0, np.linspace(8, 10, 1001))
    assert (low, high) == pytest.approx((4.05, 5.95))


def test_influence_spreads_as_the_full_bootstrap_does() -> None:
    features = fakes(0, 2000)
    estimate = frechet_distance(REAL, statistics(features))
    full = resample(lambda rows: frechet_distance(REAL, statistics(features[rows])), 2000, 200)
    slow, fast = centred_interval(estimate, full), frechet_score(features, REAL)
    assert fast.low < estimate == fast.value < fast.high
    assert fast.high - fast.low == pytest.approx(slow.high - slow.low, rel=0.15)


def test_inception_score_s_interval_is_the_full_bootstrap_s() -> None:
    p = probabilities(0, 900)
    full = resample(lambda rows: inception_score(p[rows]), 900, 500)
    slow = centred_interval(inception_score(p), full)
    assert inception_score_interval(p, resamples=500) == pytest.approx(slow)  # the same drawings
    # Splits are independent: two of half the size spread as one.
    halves = inception_score_interval(p, split_size=450, resamples=500)
    assert halves.high - halves.low == pytest.approx(slow.high - slow.low, rel=0.2)


def fid(seed: int) -> tuple[float, tuple[float, float]]:
    value, *interval = frechet_score(fakes(seed), REAL, resamples=400)
    return value, tuple(interval)


def score(seed: int) -> tuple[float, tuple[float, float]]:
    p = probabilities(seed)
    return inception_score(p), inception_score_interval(p)


def kid(seed: int) -> tuple[float, tuple[float, float]]:
    real, features = fakes(seed + 10_000) - 0.3, fakes(seed)
    _, *interval = kernel_distance(real, features, subsets=60, seed=seed)
    return kernel_distance_of_all(real, features), tuple(interval)


def share(seed: int) -> tuple[float, tuple[float, float]]:
    values = np.random.default_rng(seed).random(400) < 0.6
    return float(values.mean()), mean_interval(values, 400, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [fid, score, kid, share])
def test_intervals_contain_the_truth_as_often_as_stated(number) -> None:
    pairs = [number(seed) for seed in range(100)]
    truth = np.mean([value for value, _ in pairs])
    inside = np.mean([low <= truth <= high for _, (low, high) in pairs])
    print(f"{number.__name__}: the mean of {len(pairs)} is in {100 * inside:.1f}% of intervals")
    assert 0.87 <= inside <= 0.99


@pytest.mark.parametrize("count", [2, 3, 40])
def test_no_distance_has_an_interval_of_no_width(count: int) -> None:
    features = fakes(0)[:count]
    for same in (np.repeat(features[:1], count, 0), features):
        real = statistics(features) if same is features else REAL
        assert np.isnan(frechet_score(same, real)[1:]).all()
    low, high = frechet_score(features, REAL)[1:]
    assert (low < high) if count > 2 else np.isnan([low, high]).all()


def test_what_spreads_nothing_is_refused() -> None:
    for values in (np.zeros(0), np.zeros((2, 2)), np.array([1, np.nan])):
        with pytest.raises(ValueError, match="finite values"):
            mean_interval(values)
    with pytest.raises(ValueError, match="give more"):
        resample(lambda rows: 0.0, 1)
    with pytest.raises(ValueError, match="finite scores"):
        centred_interval(1.0, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="smaller subsets"):
        subset_interval(np.ones(5), 10, 10)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_means_of_subsets_have_the_normal_interval_of_all(share: float) -> None:
    """Subsets are drawn without replacement; the factor of the spread corrects for that."""
    random, count = np.random.default_rng(2), 400
    values = random.normal(size=count)
    size = int(share * count)
    means = np.array([random.permutation(values)[:size].mean() for _ in range(4000)])
    low, high = subset_interval(means, size, count)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / count**0.5, rel=0.05)
