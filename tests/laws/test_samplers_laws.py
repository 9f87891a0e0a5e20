"""denoise, noise -> image: what every sampler owes, stated on the oracle.

A sampler put into SAMPLERS is found here by itself; FACTS asks one line of it.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from oracle import Mixture, by_angle, four_modes, normal, one_gaussian, seeded
from scipy.integrate import solve_ivp

from adm.diffusion import clip, cosine, process, spacing
from adm.guidance import classifier_gradient
from adm.samplers import SAMPLERS, ImageNoise, ancestral, ddim, encode


class Facts(NamedTuple):
    order: int | None  # at which the error of an ODE solver falls; None for a random sampler


FACTS = {"ancestral": Facts(order=None), "ddim": Facts(order=1)}
SOLVERS = [name for name, facts in FACTS.items() if facts.order is not None]
RANDOM = [name for name, facts in FACTS.items() if facts.order is None]
DATA = four_modes()
each_sampler = pytest.mark.parametrize("name", SAMPLERS)
each_solver = pytest.mark.parametrize("name", SOLVERS)


def noise_like(x, seed=100):
    return lambda level: normal(tuple(x.shape), seed + level)


def last(states):
    *_, state = states
    return state.x


def rms(x):
    return x.square().mean().sqrt().item()


def slope(steps, errors):
    """Of log error against log number of steps, with its sign turned."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def test_every_sampler_has_its_facts():
    assert set(FACTS) == set(SAMPLERS)


@each_sampler
def test_a_sampler_yields_a_state_a_step_and_asks_for_noise_once_a_level(name):
    schedule, x, asked = cosine(100).respaced([5, 30, 60, 100]), normal((2, 1, 2, 2), 0), []

    def noise(level):
        asked.append(level)
        return normal((2, 1, 2, 2), level)

    states = list(SAMPLERS[name](DATA.denoise(schedule), x, schedule, noise))
    assert [state.level for state in states] == [3, 2, 1, 0]
    assert asked == [4, 3, 2, 1]
    first = DATA.denoise(schedule)(x, 4)
    torch.testing.assert_close(states[0].prediction.x_0, first.x_0)


@each_sampler
def test_a_data_set_of_one_image_is_reproduced(name):
    image = torch.tensor([0.9, -1.0, 0.0, 0.3], dtype=torch.float64).reshape(1, 1, 2, 2)
    one = torch.ones(1, dtype=torch.float64)
    data, schedule = Mixture(image, 0 * one, one, one.long() * 0), by_angle(6, first=0.1)
    x = normal((5, 1, 2, 2), 0)
    found = last(SAMPLERS[name](data.denoise(schedule), x, schedule, noise_like(x)))
    torch.testing.assert_close(found, image.expand_as(found))


@each_sampler
def test_an_image_does_not_depend_on_its_batch(name):
    schedule, label = by_angle(12, first=0.1), torch.tensor([0, 1, 2, 0, 1, 2])

    def run(images):
        noise, wanted = ImageNoise(7, images, (1, 2, 2)), label[images]
        gradient = classifier_gradient(DATA.classifier(schedule), schedule, wanted, 3.0)
        start = noise.start().double()
        return last(SAMPLERS[name](DATA.denoise(schedule), start, schedule, noise, gradient))

    together = run([0, 1, 2, 3, 4, 5])
    torch.testing.assert_close(run([4, 2]), together[[4, 2]])
    torch.testing.assert_close(run([3]), together[[3]])


@each_sampler
def test_respacing_by_everything_changes_no_image(name):
    schedule, x = cosine(20), normal((3, 1, 2, 2), 0)
    same = schedule.respaced(range(1, 21))
    runs = [last(SAMPLERS[name](DATA.denoise(s), x, s, noise_like(x))) for s in (schedule, same)]
    assert torch.equal(*runs)


@each_sampler
def test_samples_have_the_moments_of_the_data_once_there_are_many_steps(name):
    """Mean, covariance and class shares: within 5 standard errors at 200 steps, not at 4."""
    x = normal((6000, 1, 2, 2), 5)

    def worst(steps):
        schedule, generator = by_angle(steps, first=1.5 / steps), seeded(6)
        drawn = last(
            SAMPLERS[name](
                DATA.denoise(schedule),
                x,
                schedule,
                lambda _: torch.randn(x.shape, dtype=torch.float64, generator=generator),
            )
        )
        flat = drawn.flatten(1)
        away = flat - DATA.mean
        products = (away[:, :, None] * away[:, None]).flatten(1) - DATA.covariance.flatten()
        clean = by_angle(2, first=0.1)
        shares = DATA.logits(clean, drawn, 0).softmax(1) - DATA.class_weights
        errors = torch.cat([away, products, shares], dim=1)
        return (errors.mean(0).abs() / (errors.std(0) / len(errors) ** 0.5)).max().item()

    assert worst(4) > 10
    assert worst(200) < 5


@each_solver
def test_the_error_of_a_solver_falls_at_its_order(name):
    """Against the probability-flow ODE in the angle, solved by another method to 1e-9."""
    x = normal((32, 1, 2, 2), 0)

    def velocity(angle, flat):
        x_t, angle = torch.from_numpy(flat).reshape(x.shape), torch.tensor(angle).double()
        alpha_bar = (angle.cos() ** 2).reshape(1, 1)
        noise = -angle.sin() * DATA.score(x_t, alpha_bar)
        x_0 = DATA.earlier(x_t, alpha_bar, torch.ones_like(alpha_bar)).mean
        return (angle.cos() * noise - angle.sin() * x_0).flatten().numpy()

    span, start = (1.5, 0.0), x.flatten().numpy()
    solved = solve_ivp(velocity, span, start, method="DOP853", rtol=1e-9, atol=1e-10)
    exact = torch.from_numpy(solved.y[:, -1].copy()).reshape(x.shape)
    counts, errors = [20, 40, 80, 160, 320], []
    for steps in counts:
        schedule = by_angle(steps, first=1.5 / steps)
        found = last(SAMPLERS[name](DATA.denoise(schedule), x, schedule, noise_like(x)))
        errors.append(rms(found - exact))
    assert slope(counts, errors) == pytest.approx(FACTS[name].order, abs=0.1), errors


@each_solver
def test_a_solver_ignores_noise(name):
    schedule, x = cosine(10), normal((2, 1, 2, 2), 0)
    runs = [
        last(SAMPLERS[name](DATA.denoise(schedule), x, schedule, noise_like(x, seed)))
        for seed in (100, 200)
    ]
    assert torch.equal(*runs)


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_sampler_does_not(name):
    schedule, x = cosine(10), normal((2, 1, 2, 2), 0)
    runs = [
        last(SAMPLERS[name](DATA.denoise(schedule), x, schedule, noise_like(x, seed)))
        for seed in (100, 200)
    ]
    assert (runs[0] - runs[1]).abs().max() > 0.01


@each_sampler
def test_a_scale_of_0_is_no_guidance(name):
    schedule, x = by_angle(20, first=0.05), normal((6, 1, 2, 2), 0)
    label = torch.tensor([0, 1, 2] * 2)
    gradient = classifier_gradient(DATA.classifier(schedule), schedule, label, 0.0)
    sampler, denoise = SAMPLERS[name], DATA.denoise(schedule)
    free = last(sampler(denoise, x, schedule, noise_like(x)))
    guided = last(sampler(denoise, x, schedule, noise_like(x), gradient))
    torch.testing.assert_close(guided, free, rtol=0, atol=1e-10)


LABEL = torch.tensor([0, 1, 2, 1] * 16)


def guided_and_conditional(sampler, steps, **options):
    schedule, x = by_angle(steps, first=1.5 / steps), normal((64, 1, 2, 2), 2)
    pull = DATA.gradient(schedule, LABEL)
    noise = noise_like(x)
    guided = last(sampler(DATA.denoise(schedule), x, schedule, noise, pull, **options))
    return guided, last(sampler(DATA.denoise(schedule, LABEL), x, schedule, noise))


@each_solver
def test_an_exact_classifier_makes_a_solver_conditional(name):
    guided, conditional = guided_and_conditional(SAMPLERS[name], 25)
    torch.testing.assert_close(guided, conditional, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", RANDOM)
def test_an_exact_classifier_makes_a_random_sampler_conditional_in_the_limit(name):
    counts = [25, 50, 100, 200]
    errors = [rms(torch.sub(*guided_and_conditional(SAMPLERS[name], n))) for n in counts]
    assert slope(counts, errors) > 0.8, errors
    assert errors[-1] < 0.01, errors


def test_so_it_does_where_the_paper_takes_the_gradient():
    counts = [25, 50, 100, 200]
    errors = [rms(torch.sub(*guided_and_conditional(ancestral, n, at_mean=True))) for n in counts]
    assert slope(counts, errors) > 0.8, errors
    assert errors[-1] < 0.01, errors


@each_sampler
def test_more_scale_is_more_of_the_class(name):
    schedule, x = by_angle(30, first=0.05), normal((300, 1, 2, 2), 3)
    label = torch.arange(300) % 3

    def share(scale):
        gradient = DATA.gradient(schedule, label, scale)
        found = last(SAMPLERS[name](DATA.denoise(schedule), x, schedule, noise_like(x), gradient))
        return DATA.logits(schedule, found, 0).softmax(1).gather(1, label[:, None]).mean()

    assert share(0) < 0.4  # a third, by chance
    assert share(1) > 0.9
    assert share(-1) < 0.2


@pytest.mark.parametrize("steps", [2, 5, 17])
def test_ancestral_sampling_of_a_gaussian_is_exact_in_any_number_of_steps(steps):
    """Its image is linear in its noises: the squares of their factors sum to the variance."""
    data, schedule = one_gaussian(0.2), by_angle(steps, first=0.3)
    alpha_bar = schedule.alpha_bar[-1]
    # Image i hears 1 at draw i alone, the start being draw 0; the last image hears nothing.
    heard = torch.eye(steps + 2, dtype=torch.float64)[:, :-1]

    def noise(draw):
        return heard[:, draw].reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    start = schedule.signal[-1] * data.means + (alpha_bar * 0.2 + 1 - alpha_bar).sqrt() * noise(0)
    found = last(ancestral(data.denoise(schedule), start, schedule, noise))
    torch.testing.assert_close(found[-1:], data.means)
    # The last step returns its mean: the variance that it would add is left out.
    left_out = data.denoise(schedule)(start[:1], 1).variance[0]
    spread = ((found[:-1] - found[-1]) ** 2).sum(0) + left_out
    torch.testing.assert_close(spread, torch.full_like(spread, 0.2))


def test_ddim_with_all_its_noise_is_ancestral_sampling_with_the_posteriors_variance():
    schedule, x = cosine(30), normal((4, 1, 2, 2), 0)
    exact = DATA.denoise(schedule)

    def fixed(x_t, level):
        variance = schedule.posterior_variance[level].expand_as(x_t)
        log = schedule.posterior_log_variance[level].expand_as(x_t)
        return exact(x_t, level)._replace(variance=variance, log_variance=log)

    full = last(ddim(exact, x, schedule, noise_like(x), eta=1.0))
    torch.testing.assert_close(full, last(ancestral(fixed, x, schedule, noise_like(x))))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_keeps_the_marginals_at_any_eta(eta):
    """One step from q(x_t | x_0), by a model that knows x_0, arrives at q(x_(t-1) | x_0)."""
    schedule, x_0 = cosine(10), torch.full((1, 1, 2, 2), 0.3).double()

    def knows(x_t, level):
        noise = process.noise_from_x_0(schedule, x_t, x_0, level)
        return DATA.denoise(schedule)(x_t, level)._replace(x_0=x_0, noise=noise)

    def first(x, drawn):
        return next(ddim(knows, x, schedule, lambda _: drawn, eta=eta)).x

    zero, one = torch.zeros_like(x_0), torch.ones_like(x_0)
    mean = schedule.signal[-1] * x_0
    centre = first(mean, zero)
    torch.testing.assert_close(centre, schedule.signal[-2] * x_0)
    fresh, kept = first(mean, one) - centre, first(mean + schedule.sigma[-1], zero) - centre
    torch.testing.assert_close(fresh, eta * schedule.posterior_variance[-1].sqrt() * one)
    torch.testing.assert_close(fresh**2 + kept**2, schedule.sigma[-2] ** 2 * one)


def test_encoding_and_sampling_undo_each_other_as_steps_grow():
    x_0, _ = DATA.sample(64, seeded(1))
    counts, errors = [25, 50, 100, 200], []
    for steps in counts:
        schedule = cosine(1000).respaced(spacing.even(1000, steps))
        states = list(encode(DATA.denoise(schedule), x_0, schedule))
        assert [state.level for state in states] == list(range(2, steps + 2))
        noise = states[-1].x
        again = last(ddim(DATA.denoise(schedule), noise, schedule, noise_like(noise)))
        errors.append(rms(again - x_0))
    assert slope(counts, errors) == pytest.approx(1, abs=0.15), errors
    assert errors[-1] < 0.01, errors
    assert rms(noise) == pytest.approx(1, abs=0.15), "the code is noise of unit variance"


def test_x_0_is_restrained_again_only_where_asked():
    schedule, x = by_angle(15, first=0.1), normal((4, 1, 2, 2), 0)
    pull = DATA.gradient(schedule, torch.tensor([0, 1, 2, 0]), scale=20.0)

    def widest(**options):
        states = ddim(DATA.denoise(schedule), x, schedule, noise_like(x), pull, **options)
        return max(state.prediction.x_0.abs().max().item() for state in states)

    assert widest() > 1.5
    assert widest(restrain_again=clip) <= 1


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_eta_beyond_its_range_is_refused(eta):
    x = normal((1, 1, 2, 2), 0)
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got"):
        last(ddim(DATA.denoise(cosine(5)), x, cosine(5), noise_like(x), eta=eta))
