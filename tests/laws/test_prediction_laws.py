"""raw output -> Prediction: every target is solved for x_0, every variance is that of its rule."""

import pytest
import torch
from oracle import four_modes, mean_of, normal, seeded

from adm.diffusion import (
    FIXED_LARGE,
    FIXED_SMALL,
    LEARNED,
    LEARNED_RANGE,
    NOISE,
    PREVIOUS_MEAN,
    VELOCITY,
    X_0,
    Parameterization,
    Prediction,
    Variance,
    clip,
    cosine,
    denoiser,
    linear,
    process,
)
from adm.samplers import Dynamic

TARGETS = {"noise": NOISE, "x_0": X_0, "velocity": VELOCITY, "previous mean": PREVIOUS_MEAN}
RULES = {"small": FIXED_SMALL, "large": FIXED_LARGE, "learned": LEARNED, "range": LEARNED_RANGE}
SCHEDULE = linear(100)
LEVELS = torch.tensor([1, 2, 50, 99, 100])
SHAPE = (5, 3, 2, 2)
IMAGE, DRAWN = normal(SHAPE, 0).clamp(-1, 1), normal(SHAPE, 1)
X_T = process.diffuse(SCHEDULE, IMAGE, DRAWN, LEVELS)
EXTRA = normal(SHAPE, 2)


def raw_of(target, rule):
    output = target.of(SCHEDULE, IMAGE, DRAWN, X_T, LEVELS)
    return torch.cat([output, EXTRA], dim=1) if rule.learned else output


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_perfect_output_is_read_as_the_truth(target, rule):
    model = Parameterization(target, rule)
    p = model.predict(SCHEDULE, raw_of(target, rule), X_T, LEVELS)
    close = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(p.x_0, IMAGE, **close)
    torch.testing.assert_close(p.noise, DRAWN, **close)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_x_0_and_noise_always_make_up_x_t(target):
    output = normal(SHAPE, 3)
    for threshold in (None, clip):
        p = Parameterization(target, FIXED_SMALL).predict(SCHEDULE, output, X_T, LEVELS, threshold)
        torch.testing.assert_close(process.diffuse(SCHEDULE, p.x_0, p.noise, LEVELS), X_T)
        assert threshold is None or p.x_0.abs().max() <= 1


def test_dynamic_thresholding_shrinks_an_image_by_its_99_5_percent_quantile():
    """Of 1,001 evenly spaced magnitudes up to 4 it is 3.98; those beyond it are clipped."""
    x_0 = torch.linspace(-4, 4, 2001, dtype=torch.float64).repeat(2, 1)
    x_0[1] /= 5  # within [-1, 1]
    outside, inside = Dynamic()(x_0.reshape(2, 3, 23, 29)).reshape(2, 2001)
    torch.testing.assert_close(outside, (x_0[0] / 3.98).clamp(-1, 1))
    assert torch.equal(inside, x_0[1])


def test_dynamic_thresholding_clips_what_the_quantile_leaves_out():
    x_0 = torch.zeros(1, 3, 20, 20)
    x_0[0, 0, 0] = 0.5
    x_0[0, 0, 0, 0] = 7
    assert torch.equal(Dynamic()(x_0), x_0.clamp(max=1))


def test_clipping_moves_the_mean_unless_the_output_is_the_mean():
    output = 3 * normal(SHAPE, 3)
    for name, target in TARGETS.items():
        model = Parameterization(target, FIXED_SMALL)
        free, clipped = (model.predict(SCHEDULE, output, X_T, LEVELS, r) for r in (None, clip))
        assert (free.x_0 - clipped.x_0).abs().max() > 0.1
        drawn = model.predict(SCHEDULE, output, X_T, LEVELS, model.mean_threshold(clip))
        if name == "previous mean":
            torch.testing.assert_close(mean_of(SCHEDULE, drawn, X_T, LEVELS), output)
        else:
            assert torch.equal(drawn.x_0, clipped.x_0)


def test_predictions_from_x_0_and_from_its_noise_are_the_same():
    variance = Variance(torch.ones(()), torch.zeros(()))
    by_x_0 = Prediction.from_x_0(SCHEDULE, X_T, LEVELS, IMAGE, variance)
    by_noise = Prediction.from_noise(SCHEDULE, X_T, LEVELS, by_x_0.noise, variance)
    torch.testing.assert_close(by_noise.x_0, IMAGE, rtol=0, atol=1e-9)
    torch.testing.assert_close(by_x_0.noise, DRAWN)


def variance_of(rule, extra=EXTRA):
    raw = torch.cat([IMAGE, extra], dim=1) if rule.learned else IMAGE
    p = Parameterization(X_0, rule).predict(SCHEDULE, raw, X_T, LEVELS)
    variance, log = (v.expand(SHAPE)[:, 0, 0, 0] for v in p.variance)
    return variance, log


def test_fixed_variances_are_the_posteriors_and_beta():
    posterior, beta = SCHEDULE.posterior_variance, SCHEDULE.beta
    small, log_small = variance_of(FIXED_SMALL)
    torch.testing.assert_close(small, posterior[LEVELS])
    torch.testing.assert_close(log_small.exp(), posterior[[2, 2, 50, 99, 100]])
    large, log_large = variance_of(FIXED_LARGE)
    torch.testing.assert_close(large, torch.cat([posterior[2:3], beta[LEVELS[1:]]]))
    torch.testing.assert_close(log_large.exp(), large)


def test_a_learned_variance_is_the_exponential_of_its_output():
    variance, log = variance_of(LEARNED)
    torch.testing.assert_close(log, EXTRA[:, 0, 0, 0])
    torch.testing.assert_close(variance, EXTRA[:, 0, 0, 0].exp())


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, 1.5])
def test_a_learned_range_interpolates_logs_between_its_bounds_and_beyond(value):
    variance, log = variance_of(LEARNED_RANGE, torch.full(SHAPE, value).double())
    low, high = SCHEDULE.posterior_log_variance[LEVELS], SCHEDULE.beta[LEVELS].log()
    expected = {-1.0: low, 0.0: (low + high) / 2, 1.0: high, 1.5: high + (high - low) / 4}[value]
    torch.testing.assert_close(log, expected)
    torch.testing.assert_close(variance, expected.exp())


def test_the_exact_variance_lies_within_the_learned_range():
    """Improved DDPM, section 3.1: the posterior's and beta bound it for data of unit variance."""
    x_0, _ = four_modes().sample(64, seeded(0))
    for level in (2, 30, 100):
        x_t = process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), level)
        variance = four_modes().denoise(SCHEDULE)(x_t, level).variance.value.mean()
        assert SCHEDULE.posterior_variance[level] < variance < SCHEDULE.beta[level]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_an_output_of_the_wrong_width_names_the_right_one(rule):
    width = 6 if rule.learned else 3
    model = Parameterization(NOISE, rule)
    with pytest.raises(ValueError, match=f"an output of {width}, got 4; set out_channels"):
        model.split(torch.zeros(1, 4, 2, 2), 3)


def test_the_network_receives_original_timesteps_after_respacing():
    timesteps = []

    def network(x_t, step):
        timesteps.append(step.tolist())
        return torch.zeros_like(x_t)

    schedule = cosine(4000).rescaled().respaced([4, 40, 4000])
    denoise = denoiser(network, schedule, Parameterization(NOISE, FIXED_SMALL))
    for level in (3, 2, 1):
        denoise(X_T[:2], level)
    denoise(X_T[:2], torch.tensor([1, 3]))
    assert timesteps == [[999.75] * 2, [9.75] * 2, [0.75] * 2, [0.75, 999.75]]


def test_a_denoiser_reads_its_network_as_the_parameterization_says():
    model = Parameterization(VELOCITY, LEARNED_RANGE)
    denoise = denoiser(lambda x, step: raw_of(VELOCITY, LEARNED_RANGE) * 2, SCHEDULE, model)
    expected = model.predict(SCHEDULE, raw_of(VELOCITY, LEARNED_RANGE) * 2, X_T, LEVELS, clip)
    actual = denoise(X_T, LEVELS)
    torch.testing.assert_close(actual.x_0, expected.x_0)
    torch.testing.assert_close(actual.noise, expected.noise)
    torch.testing.assert_close(actual.variance, expected.variance)
