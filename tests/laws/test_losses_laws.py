"""raw output, target -> losses; losses -> which levels to draw."""

import math

import numpy as np
import pytest
import torch
from oracle import four_modes, mean_of, normal, seeded

from adm.diffusion import (
    FIXED_SMALL,
    LEARNED,
    LEARNED_RANGE,
    NOISE,
    PREVIOUS_MEAN,
    VELOCITY,
    X_0,
    Parameterization,
    cosine,
)
from adm.losses import Example, TimestepImportance, cross_entropy, hybrid, simple, vlb

TARGETS = {"noise": NOISE, "x_0": X_0, "velocity": VELOCITY, "previous mean": PREVIOUS_MEAN}
SCHEDULE = cosine(20)
LEVELS = torch.tensor([1, 2, 10, 19])


def example():
    x_0, _ = four_modes().sample(len(LEVELS), seeded(0))
    return Example.of(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), LEVELS)


def exact_raw(target, noisy, extra):
    output = target.of(SCHEDULE, noisy.x_0, noisy.noise, noisy.x_t, noisy.level)
    return torch.cat([output, torch.full_like(output, extra)], dim=1)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_simple_loss_is_the_distance_from_the_exact_target(target):
    noisy, model = example(), Parameterization(target, LEARNED_RANGE)
    raw = exact_raw(target, noisy, extra=0.3)
    assert simple(model, SCHEDULE, raw, noisy).loss.abs().max() == 0
    off = simple(model, SCHEDULE, raw + 0.5, noisy)
    torch.testing.assert_close(off.loss, torch.full((4,), 0.25).double())
    assert off.mse is off.loss
    assert off.vlb is None


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_variational_loss_of_the_true_posterior_is_zero_above_level_1(target):
    noisy, model = example(), Parameterization(target, LEARNED_RANGE)
    losses = vlb(7.0)(model, SCHEDULE, exact_raw(target, noisy, extra=-1.0), noisy)
    torch.testing.assert_close(losses.loss[1:], torch.zeros(3).double(), rtol=0, atol=1e-9)
    assert losses.loss[0] != 0, "level 1 is the decoder's likelihood"
    assert losses.mse is None


def test_hybrid_teaches_the_variance_by_the_bound_and_the_mean_by_the_error_alone():
    noisy, model = example(), Parameterization(NOISE, LEARNED_RANGE)
    raw = exact_raw(NOISE, noisy, extra=0.0) + 0.1 * normal((4, 2, 2, 2), 2)
    raw.requires_grad_()

    def gradients(values):
        mean, variance = torch.autograd.grad(values.sum(), raw, retain_graph=True)[0].chunk(2, 1)
        return mean, variance

    losses = hybrid(0.01)(model, SCHEDULE, raw, noisy)
    mean, variance = gradients(losses.vlb)
    assert mean.abs().max() == 0
    assert (variance.flatten(1).abs().amax(1) > 0).all()
    mean, variance = gradients(losses.mse)
    assert (mean.flatten(1).abs().amax(1) > 0).all()
    assert variance.abs().max() == 0
    mean, variance = gradients(vlb(1.0)(model, SCHEDULE, raw, noisy).loss)
    assert (mean.flatten(1).abs().amax(1) > 0).all()
    assert (variance.flatten(1).abs().amax(1) > 0).all()


def test_hybrid_with_a_fixed_variance_learns_from_the_error_alone():
    noisy, model = example(), Parameterization(NOISE, FIXED_SMALL)
    raw = normal((4, 1, 2, 2), 2).requires_grad_()
    assert not hybrid(0.01)(model, SCHEDULE, raw, noisy).vlb.requires_grad
    assert vlb(0.01)(model, SCHEDULE, raw, noisy).loss.requires_grad


@pytest.mark.parametrize("rule", [LEARNED_RANGE, FIXED_SMALL], ids=["learned", "fixed"])
def test_hybrid_is_the_sum_of_its_parts(rule):
    noisy, model = example(), Parameterization(VELOCITY, rule)
    raw = normal((4, 2 if rule.learned else 1, 2, 2), 3)
    losses = hybrid(0.02)(model, SCHEDULE, raw, noisy)
    mse = simple(model, SCHEDULE, raw, noisy).loss
    term = vlb(1.0)(model, SCHEDULE, raw, noisy).loss
    torch.testing.assert_close(losses.loss, mse + 0.02 * term)
    torch.testing.assert_close(losses.loss, losses.mse + losses.vlb)


def test_the_best_constant_variance_is_the_error_it_must_cover():
    """With the mean fixed, the bound is least where the variance is the mean squared distance."""
    x_0, _ = four_modes().sample(20_000, seeded(4))
    level = torch.full((len(x_0),), 10)
    noisy = Example.of(SCHEDULE, x_0, normal(tuple(x_0.shape), 5), level)
    model, exact = Parameterization(PREVIOUS_MEAN, LEARNED), four_modes().denoise(SCHEDULE)
    p = exact(noisy.x_t, 10)
    covered = p.variance.value.mean().log().item()
    mean = mean_of(SCHEDULE, p, noisy.x_t, 10)

    def bound(log):
        raw = torch.cat([mean, torch.full_like(mean, log)], dim=1)
        return vlb(1.0)(model, SCHEDULE, raw, noisy).loss.mean()

    assert bound(covered) < min(bound(covered - 0.1), bound(covered + 0.1))


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    logits, label = normal((5, 3), 0), torch.tensor([0, 2, 1, 1, 0])
    expected = -logits.float().log_softmax(1)[torch.arange(5), label]
    torch.testing.assert_close(cross_entropy(logits, label), expected)
    torch.testing.assert_close(
        cross_entropy(torch.zeros(5, 3), label), torch.full((5,), math.log(3))
    )


def warmed(losses_of_level=(1.0, 4.0, 0.5, 2.0), length=3):
    importance = TimestepImportance(len(losses_of_level), length)
    for _ in range(length):
        importance.update(np.arange(1, len(losses_of_level) + 1), np.array(losses_of_level))
    return importance


def test_importance_is_uniform_until_every_level_has_a_full_history():
    importance = TimestepImportance(4, 2)
    importance.update(np.array([1, 2, 3, 4, 1, 2, 3]), np.array([9.0, 1, 1, 1, 9, 1, 1]))
    assert not importance.warm
    np.testing.assert_allclose(importance.probabilities, 0.25)
    importance.update(np.array([4]), np.array([1.0]))
    assert importance.warm
    assert importance.probabilities[0] > 0.7


def test_importance_follows_the_root_mean_square_with_a_uniform_share():
    importance = TimestepImportance(2, 2, uniform=0.1)
    importance.update(np.array([1, 1, 2, 2]), np.array([1.0, 7.0, 3.0, 4.0]))
    share = np.array([5, 12.5**0.5]) / (5 + 12.5**0.5)  # root mean squares of 1, 7 and of 3, 4
    np.testing.assert_allclose(importance.probabilities, 0.9 * share + 0.05)


def test_importance_weights_keep_any_expectation_unbiased():
    importance, losses = warmed(), np.array([3.0, -1.0, 10.0, 0.2])
    p = importance.probabilities
    levels, weights = importance.draw(p.cumsum() - p / 2)  # the middle of each level's share
    assert levels.tolist() == [1, 2, 3, 4]
    assert p.sum() == pytest.approx(1)
    assert (p * weights).sum() == pytest.approx(1)
    assert (p * weights * losses).sum() == pytest.approx(losses.mean())


def test_levels_are_drawn_as_often_as_their_probabilities_say():
    importance, n = warmed(), 100_000
    levels, weights = importance.draw((np.arange(n) + 0.5) / n)
    share = np.bincount(levels, minlength=5)[1:] / n
    np.testing.assert_allclose(share, importance.probabilities, atol=2 / n)
    assert weights.mean() == pytest.approx(1, abs=1e-3)


def test_draws_at_both_ends_of_the_unit_interval_are_levels():
    for importance in (warmed(), TimestepImportance(1000)):
        levels, _ = importance.draw(np.array([0.0, np.nextafter(1.0, 0.0)]))
        assert levels.tolist() == [1, len(importance.counts)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_losses_that_are_not_finite_are_dropped(bad):
    importance, untouched = warmed(), warmed()
    importance.update(np.array([2, 3]), np.array([bad, 1.5]))
    untouched.update(np.array([3]), np.array([1.5]))
    np.testing.assert_array_equal(importance.history, untouched.history)
    fresh = TimestepImportance(4)
    fresh.update(np.array([1]), np.array([bad]))
    assert fresh.counts.tolist() == [0, 0, 0, 0]


def test_the_oldest_loss_leaves_first():
    importance = TimestepImportance(2, 3)
    importance.update(np.array([1] * 5), np.array([1.0, 2, 3, 4, 5]))
    assert importance.history[0].tolist() == [3, 4, 5]
    assert importance.counts.tolist() == [3, 0]
