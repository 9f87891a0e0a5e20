"""Strong and weak denoisers -> one denoiser: guidance without a classifier, on the oracle."""

from dataclasses import replace

import pytest
import torch
from oracle import counted, fixed_variance, four_modes, last, noise_like, normal, rms, seeded

from adm.diffusion import cosine, process
from adm.guidance import Contrast, contrasted, every, folded, scaled
from adm.samplers import DDIM, AttentionGuide, FreeGuide, WeakGuide

DATA = four_modes()
SCHEDULE = cosine(40).respaced(range(2, 41, 2))
LABEL = torch.tensor([0, 1, 2, 1, 0])
CONDITIONAL = fixed_variance(DATA.denoise(SCHEDULE, LABEL), SCHEDULE)
UNCONDITIONAL = fixed_variance(DATA.denoise(SCHEDULE), SCHEDULE)
EXACT = DATA.gradient(SCHEDULE, LABEL)
OTHER = fixed_variance(DATA.denoise(SCHEDULE, LABEL.flip(0)), SCHEDULE)


def noisy(level):
    x_0, _ = DATA.sample(len(LABEL), seeded(0))
    return process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), level)


def free(scale, interval=None):
    """Classifier-free guidance by the exact denoisers."""
    term = FreeGuide(scale=scale, interval=interval)
    return contrasted(CONDITIONAL, term.apply(UNCONDITIONAL, range(1, SCHEDULE.last + 1), SCHEDULE))


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("level", [1, 5, 20])
def test_free_guidance_is_that_of_the_exact_classifier_at_scale_less_1(scale, level):
    """By Bayes' rule, the difference of the two scores is the gradient of the classifier."""
    actual = free(scale)(noisy(level), level)
    expected = folded(CONDITIONAL, scaled(EXACT, scale - 1), SCHEDULE)(noisy(level), level)
    torch.testing.assert_close(actual.noise, expected.noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(actual.x_0, expected.x_0, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [FreeGuide, WeakGuide, AttentionGuide])
def test_a_weak_model_that_is_the_strong_one_changes_nothing(kind):
    term, x_t = kind(scale=3.0), noisy(10)
    same = contrasted(CONDITIONAL, term.apply(CONDITIONAL, range(1, SCHEDULE.last + 1), SCHEDULE))
    assert torch.equal(same(x_t, 10).x_0, CONDITIONAL(x_t, 10).x_0)
    assert torch.equal(same(x_t, 10).noise, CONDITIONAL(x_t, 10).noise)


@pytest.mark.parametrize("level", [1, 20])
def test_several_contrasts_add_their_differences(level):
    x_t = noisy(level)
    actual = free(3.0)(x_t, level)
    both = contrasted(CONDITIONAL, Contrast(UNCONDITIONAL, 2.0), Contrast(OTHER, -0.5))
    strong, other = CONDITIONAL(x_t, level), OTHER(x_t, level)
    for name in ("x_0", "noise"):
        added = getattr(actual, name) - 0.5 * (getattr(strong, name) - getattr(other, name))
        torch.testing.assert_close(getattr(both(x_t, level), name), added)
    assert both(x_t, level).variance == strong.variance


def test_contrasts_are_consistent():
    """x_0 and noise make up x_t, so that a sampler may read either."""
    levels = torch.tensor([1, 3, 10, 15, 20])
    x_t, both = noisy(levels), (Contrast(UNCONDITIONAL, 2.0), Contrast(OTHER, 1.0, (2, 12)))
    p = contrasted(CONDITIONAL, *both)(x_t, levels)
    torch.testing.assert_close(process.diffuse(SCHEDULE, p.x_0, p.noise, levels), x_t)


def test_outside_its_interval_a_weak_model_is_not_called():
    weak, calls = counted(UNCONDITIONAL)
    guided = contrasted(CONDITIONAL, Contrast(weak, 2.0, (5, 12)))
    for level in (1, 4, 13, 20):
        assert torch.equal(guided(noisy(level), level).x_0, CONDITIONAL(noisy(level), level).x_0)
    assert not calls
    for level in (5, 12):
        expected = free(3.0)(noisy(level), level)
        assert torch.equal(guided(noisy(level), level).noise, expected.noise)
    assert calls == [5, 12]
    contrasted(CONDITIONAL, Contrast(weak, 0.0))(noisy(5), 5)
    assert calls == [5, 12], "a factor of 0 changes nothing"


def test_where_a_weak_model_replaces_the_strong_one_that_is_not_called():
    """As a small model may at the noisiest levels (Pan et al. 2025)."""
    strong, calls = counted(CONDITIONAL)
    guided = contrasted(
        strong, Contrast(UNCONDITIONAL, -1.0, (15, 20)), Contrast(OTHER, 2.0, (5, 14))
    )
    for level in (20, 15):
        actual, expected = guided(noisy(level), level), UNCONDITIONAL(noisy(level), level)
        assert torch.equal(actual.noise, expected.noise)
        assert torch.equal(actual.variance.log, expected.variance.log)
    assert not calls
    guided(noisy(14), 14)
    guided(noisy(4), 4)
    assert calls == [14, 4]


def test_images_may_be_at_levels_of_their_own():
    weak, calls = counted(UNCONDITIONAL)
    guided = contrasted(CONDITIONAL, Contrast(weak, 2.0, (5, 12)))
    levels = torch.tensor([1, 5, 12, 13, 20])
    actual, x_t = guided(noisy(levels), levels), noisy(levels)
    strong, whole = CONDITIONAL(x_t, levels), free(3.0)(x_t, levels)
    inside = torch.tensor([False, True, True, False, False])
    assert torch.equal(actual.x_0[~inside], strong.x_0[~inside])
    assert torch.equal(actual.x_0[inside], whole.x_0[inside])
    guided(x_t, torch.full((5,), 4))
    assert len(calls) == 1


def test_a_difference_is_reused_at_the_levels_between():
    """That of the noise, from which x_0 follows, so that a sampler may read either."""
    weak, calls = counted(UNCONDITIONAL)
    guided = contrasted(CONDITIONAL, Contrast(weak, 2.0, (3, 19), every=2, schedule=SCHEDULE))
    shifts = {}
    for level in (20, 19, 18, 17, 16, 2):
        x_t = noisy(level)
        p = guided(x_t, level)
        torch.testing.assert_close(process.diffuse(SCHEDULE, p.x_0, p.noise, level), x_t)
        shifts[level] = p.noise - CONDITIONAL(x_t, level).noise
    assert calls == [19, 17]
    assert shifts[20].abs().max() == shifts[2].abs().max() == 0
    for level, before in ((18, 19), (16, 17)):
        assert shifts[level].abs().max() > 0.1
        torch.testing.assert_close(shifts[level], shifts[before])


@pytest.mark.parametrize("kind", [FreeGuide, WeakGuide])
def test_a_reused_difference_is_closer_than_a_reused_weak_prediction(kind):
    schedule, label = cosine(1000).respaced(range(40, 1001, 40)), torch.arange(500) % 3
    worse = replace(DATA, variances=4 * DATA.variances)
    strong = DATA.denoise(schedule, label)
    weak = worse.denoise(schedule, label) if kind is WeakGuide else DATA.denoise(schedule)
    x = normal((500, 1, 2, 2), 5)

    def sampled(weak, **changes):
        guide = kind(scale=2.0, **changes)
        guided = contrasted(strong, guide.apply(weak, range(1, 26), schedule))
        return last(DDIM()(guided, x, schedule, noise_like(x)))

    whole, held = sampled(weak), every(weak, 2)  # the latest prediction of the weak denoiser
    assert rms(sampled(weak, every=2) - whole) < 0.5 * rms(sampled(held) - whole)
