"""x_0 -> bits: the bound and the ODE against the likelihood in closed form."""

import math

import pytest
import torch
from oracle import by_angle, four_modes, normal, one_gaussian, seeded

from adm.diffusion import Prediction, Variance, cosine, process
from adm.diffusion.likelihood import (
    HALF_BIN,
    Levels,
    approximate_normal_cdf,
    binned_log_likelihood,
    bits_per_dimension,
    dequantize,
    draw_levels,
    flow_likelihood,
    kl,
    prior_term,
)
from adm.images import to_float, to_uint8


def eight_bit(x_0):
    return to_float(to_uint8(x_0)).double()


def over_signs(mixture, schedule, x_0):
    """The bound averaged over noise of +1 and of -1.

    Both signs together have a normal's first two moments, so a divergence that is quadratic in the
    noise of each pixel comes out at exactly its expectation.
    """
    one = torch.ones_like(x_0)
    return [
        bits_per_dimension(mixture.denoise(schedule), schedule, x_0, lambda _, s=sign: s * one)
        for sign in (1.0, -1.0)
    ]


@pytest.mark.parametrize("steps", [2, 5, 40])
def test_divergences_telescope_where_every_step_is_exactly_normal(steps):
    """Sum of KL terms above level 1 = KL(q_1 | p_1) - KL(q_T | p_T), by the chain rule."""
    data, schedule = one_gaussian(0.05), by_angle(steps, first=0.05)
    x_0, _ = data.sample(16, seeded(0))
    plus, minus = over_signs(data, schedule, x_0)
    summed = ((plus.terms + minus.terms) / 2)[:, :-1].sum(dim=1)

    def divergence(level):
        q = process.marginal(schedule, x_0, level)
        alpha_bar = schedule.alpha_bar[level]
        spread = alpha_bar * data.variances + 1 - alpha_bar
        nats = kl(q.mean, q.log_variance, alpha_bar.sqrt() * data.means, spread.log())
        return nats.flatten(1).mean(dim=1) / math.log(2)

    torch.testing.assert_close(summed, divergence(1) - divergence(schedule.last))


@pytest.mark.parametrize("steps", [2, 5, 40])
def test_the_bound_of_a_gaussian_is_its_likelihood_in_any_number_of_steps(steps):
    """No gap is left, but for Page's cdf, bins of finite width and x_T not quite pure noise."""
    data, schedule = one_gaussian(0.05), by_angle(steps, first=0.05)
    x_0 = eight_bit(data.sample(64, seeded(0))[0].clamp(-0.98, 0.98))
    plus, minus = over_signs(data, schedule, x_0)
    bound = (plus.total + minus.total) / 2
    torch.testing.assert_close(bound, data.bits(x_0), rtol=0, atol=0.005)


def test_the_bound_of_a_mixture_lies_above_its_likelihood_and_falls_to_it():
    data = four_modes()
    x_0 = eight_bit(data.sample(3000, seeded(0))[0])
    gaps = []
    for steps in (4, 16, 64):
        schedule = by_angle(steps, first=0.04)
        bound = [
            bits_per_dimension(
                data.denoise(schedule),
                schedule,
                x_0,
                lambda level, s=sign: s * normal(tuple(x_0.shape), level),
            ).total
            for sign in (1, -1)
        ]
        gap = (bound[0] + bound[1]) / 2 - data.bits(x_0)
        assert gap.mean() > -4 * gap.std() / len(gap) ** 0.5
        gaps.append(gap.mean().item())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2], gaps
    assert abs(gaps[2]) < 0.05, gaps  # of 7.0 bits; four standard errors are 0.044


def test_any_other_mean_or_variance_makes_the_bound_worse():
    data, schedule = one_gaussian(0.05), by_angle(6, first=0.05)
    x_0 = eight_bit(data.sample(16, seeded(0))[0])
    exact = data.denoise(schedule)

    def off(x, level, shift=0.0, ratio=1.0):
        p = exact(x, level)
        to_x_0 = process.posterior_coefficients(schedule)[0][level]
        x_0 = p.x_0 + shift * p.variance.value.sqrt() / to_x_0  # moves the mean by a deviation
        variance = Variance(ratio * p.variance.value, p.variance.log + math.log(ratio))
        return Prediction.from_x_0(schedule, x, level, x_0, variance)

    def bound(denoise):
        one = torch.ones_like(x_0)
        both = [
            bits_per_dimension(denoise, schedule, x_0, lambda level, s=s: s * one).total
            for s in (1, -1)
        ]
        return (both[0] + both[1]).mean() / 2

    best = bound(exact)
    worse = ({"shift": 0.2}, {"shift": -0.2}, {"ratio": 1.3}, {"ratio": 0.7})
    for change in worse:
        assert bound(lambda x, t, c=change: off(x, t, **c)) > best + 0.01, change


def test_total_is_terms_and_prior_and_columns_run_from_the_noisiest_level():
    data, schedule = four_modes(), cosine(8)
    x_0 = eight_bit(data.sample(5, seeded(0))[0])
    levels = []

    def noise(level):
        levels.append(level)
        return normal(tuple(x_0.shape), level)

    bound = bits_per_dimension(data.denoise(schedule), schedule, x_0, noise)
    assert levels == list(range(8, 0, -1))
    assert bound.terms.shape == bound.x_0_mse.shape == bound.noise_mse.shape == (5, 8)
    torch.testing.assert_close(bound.total, bound.terms.sum(1) + bound.prior)
    # As the noise falls, x_0 is known better, and the noise less well.
    assert bound.x_0_mse[:, 0].mean() > 10 * bound.x_0_mse[:, -1].mean()
    assert bound.noise_mse[:, -1].mean() > 10 * bound.noise_mse[:, 0].mean()


def test_the_prior_term_is_the_divergence_from_pure_noise():
    x_0, schedule = normal((3, 1, 2, 2), 0), by_angle(3, first=0.1, last=1.2)
    spread = 1 - schedule.alpha_bar[-1]
    squared = schedule.alpha_bar[-1] * (x_0**2).flatten(1).mean(dim=1)
    nats = 0.5 * (squared + spread - 1 - spread.log())
    torch.testing.assert_close(prior_term(schedule, x_0), nats / math.log(2))


def test_kl_is_torchs():
    mean, log, mean_2, log_2 = (normal((50,), seed) for seed in range(4))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log / 2).exp()),
        torch.distributions.Normal(mean_2, (log_2 / 2).exp()),
    )
    torch.testing.assert_close(kl(mean, log, mean_2, log_2), expected)


@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("mean", [-1.3, -0.999, 0.0, 0.42, 1.0])
def test_the_probabilities_of_all_256_levels_sum_to_1(mean, deviation):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_scale = torch.full((256,), math.log(deviation)).double()
    log_p = binned_log_likelihood(levels, torch.full((256,), mean).double(), log_scale)
    # Every empty bin counts as 1e-12.
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_the_approximate_cdf_is_within_its_stated_error():
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    error = (approximate_normal_cdf(x) - torch.special.ndtr(x)).abs().max()
    assert 1e-5 < error < 2e-4


@pytest.mark.parametrize("count", [2, 3, 7, 19, 20])
def test_every_level_is_drawn_as_often_as_any_other_that_the_same_draw_stands_for(count):
    """So the weighted sum of the terms of the levels drawn has the sum of all as its mean."""
    many = 5000
    even = (torch.arange(many) + 0.5) / many
    level, weight = draw_levels(20, even[:, None].expand(many, count))
    assert level[0, -1] == level[-1, -1] == weight[-1] == 1  # the decoder
    expected = torch.zeros(21, dtype=torch.float64)
    for column, stands_for in zip(level.T, weight, strict=True):
        expected += stands_for * column.bincount(minlength=21) / many
    torch.testing.assert_close(expected[1:], torch.ones(20).double(), rtol=0, atol=20 / many)
    assert draw_levels(20, torch.ones(1, count)).level.max() == 20  # float32 may round up to 1


def test_some_levels_have_the_terms_of_all_and_all_of_them_are_the_whole():
    data, schedule = four_modes(), cosine(8)
    x_0 = eight_bit(data.sample(5, seeded(0))[0])

    def noise(level):
        each = level.tolist() if torch.is_tensor(level) else [level] * len(x_0)
        return torch.stack([normal((len(x_0), 1, 2, 2), t)[i] for i, t in enumerate(each)])

    def bits(levels=None):
        return bits_per_dimension(data.denoise(schedule), schedule, x_0, noise, levels)

    whole, some = bits(), bits(Levels(torch.tensor([7, 3]), torch.tensor([2.0, 0.5]).double()))
    assert torch.equal(some.terms, whole.terms[:, [1, 5]])
    torch.testing.assert_close(
        some.total, whole.prior + some.terms @ torch.tensor([2, 0.5]).double()
    )
    drawn = bits(draw_levels(8, torch.rand(5, 8, generator=seeded(1))))
    torch.testing.assert_close(drawn.total, whole.total)
    torch.testing.assert_close(drawn.terms, whole.terms)


def axes(x_0):
    """Probes along each axis in turn, whose mean is the trace itself."""
    size = x_0[0].numel()
    each = math.sqrt(size) * torch.eye(size).double().reshape(size, 1, *x_0.shape[1:])
    return lambda level: each.expand(size, *x_0.shape)


def exact_bits(data, schedule, x_0):
    """Of the density of x_1 / signal, in bins of 8-bit pixels."""
    nats = data.log_density(schedule, schedule.signal[1] * x_0, 1) / x_0[0].numel()
    return -(nats + schedule.signal[1].log() + math.log(2 * HALF_BIN)) / math.log(2)


@pytest.mark.parametrize("make", [four_modes, lambda: one_gaussian(0.05)])
def test_the_ode_converges_to_the_density_with_the_square_of_the_step(make):
    data, errors = make(), list[float]()
    x_0, _ = data.sample(64, seeded(0))
    for steps in (16, 32, 64):
        schedule = cosine(1000).at_log_snr(torch.linspace(-8.7, 9.5, steps, dtype=torch.float64))
        likelihood = flow_likelihood(data.denoise(schedule), schedule, x_0, axes(x_0))
        errors.append(float((likelihood.total - exact_bits(data, schedule, x_0)).abs().mean()))
        torch.testing.assert_close(likelihood.total, likelihood.terms.sum(1) + likelihood.prior)
        # Of the trace: all dimensions are noise at the noisiest level, and hardly any at level 1.
        assert (likelihood.trace[:, 0] > 0.999).all()
        assert (likelihood.trace[:, -1] < 0.01).all()
    assert errors[0] > 3.5 * errors[1] > 12 * errors[2], errors
    assert errors[2] < 0.01, errors  # of 6 bits


@pytest.mark.parametrize("signs", [True, False])
def test_random_probes_are_unbiased_and_their_spread_is_the_error(signs):
    data, schedule, many = four_modes(), by_angle(12, first=0.1), 200
    x_0, _ = data.sample(20, seeded(0))

    def probe(level):
        drawn = normal((many, *x_0.shape), level)
        return drawn.sign() if signs else drawn

    denoise = data.denoise(schedule)
    exact = flow_likelihood(denoise, schedule, x_0, axes(x_0))
    estimate = flow_likelihood(denoise, schedule, x_0, probe)
    torch.testing.assert_close(estimate.total, estimate.by_probe.mean(0))
    away = (estimate.total - exact.total) / (estimate.by_probe.std(0) / many**0.5)
    assert away.abs().max() < 4, away
    assert 0.5 < away.std() < 1.6, away  # of 20 images, each with its own error


def test_the_ode_of_spread_pixels_takes_no_fewer_bits_than_the_pixels():
    """And hardly more, where the bins and the noise of level 1 are small."""
    data = four_modes()
    schedule = cosine(1000).at_log_snr(torch.linspace(-8.7, 10, 64, dtype=torch.float64))
    x_0 = eight_bit(data.sample(500, seeded(0))[0].clamp(-0.98, 0.98))
    x = dequantize(x_0, torch.rand(x_0.shape, generator=seeded(1), dtype=torch.float64))
    assert torch.equal(eight_bit(x), x_0)
    assert HALF_BIN * 0.99 < (x - x_0).abs().max() < HALF_BIN
    likelihood = flow_likelihood(data.denoise(schedule), schedule, x, axes(x_0))
    gap = likelihood.total - data.bits(x_0)
    error = gap.std() / len(gap) ** 0.5
    assert -4 * error - 0.008 < gap.mean() < 0.02, (gap.mean(), error)
