"""denoise, noise -> image: laws of every sampler, on the oracle.

Every sampler of SAMPLERS is tested; it needs one line in FACTS.
"""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from oracle import (
    Mixture,
    by_angle,
    counted,
    four_modes,
    last,
    mean_of,
    noise_like,
    normal,
    one_gaussian,
    rms,
    sampler_of,
    seeded,
    slope,
)
from scipy.integrate import solve_ivp

from adm.diffusion import Schedule, cosine
from adm.guidance import classifier_gradient, folded, scaled
from adm.samplers import SAMPLERS, Ancestral, ImageNoise


class Facts(NamedTuple):
    order: int | None  # at which the error of an ODE solver falls; None for a random sampler
    folds: bool = True  # is guided by Algorithm 2
    draws: bool = False  # draws noise at every level
    general: bool = True  # samples from any denoiser, and not from that of a student alone


FACTS = {
    "ancestral": Facts(order=None, folds=False, draws=True),
    "ddim": Facts(order=1, draws=True),
    "heun": Facts(order=2),
    "dpm-solver": Facts(order=2),
    "dpm-solver:eta=1": Facts(order=None, draws=True),
    "unipc": Facts(order=3),
    "unipc:eta=1": Facts(order=None, draws=True),
    "ipndm": Facts(order=4),
    "splitting": Facts(order=4, folds=False),
    "consistency": Facts(order=None, draws=True, general=False),
}
ORDERS = {
    **{name: facts.order for name, facts in FACTS.items() if facts.order is not None},
    "dpm-solver:order=1": 1,
    "dpm-solver:order=3": 3,
    "unipc:order=1": 2,
    "unipc:order=3": 4,
    "ipndm:order=1": 1,
    "ipndm:order=2": 2,
    "ipndm:order=3": 3,
}
SOLVERS = [name for name, facts in FACTS.items() if facts.order is not None]
FOLDING = [name for name, facts in FACTS.items() if facts.folds]
IN_THE_LIMIT = [name for name, facts in FACTS.items() if not facts.folds]
DATA = four_modes()
each_sampler = pytest.mark.parametrize("name", FACTS)


def test_every_sampler_has_its_facts():
    assert {sampler_of(name).name for name in FACTS} == set(SAMPLERS)


@each_sampler
def test_a_sampler_yields_a_state_a_step_and_draws_noise_at_every_level_or_none(name):
    schedule, x, draws = cosine(100).respaced([5, 30, 60, 100]), normal((2, 1, 2, 2), 0), []

    def noise(level, draw=0):
        draws.append((level, draw))
        return normal((2, 1, 2, 2), level)

    states = list(sampler_of(name)(DATA.denoise(schedule), x, schedule, noise))
    assert [state.level for state in states] == [3, 2, 1, 0]
    assert [level for level, _ in dict.fromkeys(draws)] == [4, 3, 2, 1] * FACTS[name].draws
    assert len(set(draws)) == len(draws), "no noise is used twice"
    first = DATA.denoise(schedule)(x, 4)
    torch.testing.assert_close(states[0].prediction.x_0, first.x_0)


@each_sampler
def test_a_data_set_of_one_image_is_reproduced(name):
    image = torch.tensor([0.9, -1.0, 0.0, 0.3], dtype=torch.float64).reshape(1, 1, 2, 2)
    one = torch.ones(1, dtype=torch.float64)
    data, schedule = Mixture(image, 0 * one, one, one.long() * 0), by_angle(6, first=0.1)
    x = normal((5, 1, 2, 2), 0)
    samples = last(sampler_of(name)(data.denoise(schedule), x, schedule, noise_like(x)))
    torch.testing.assert_close(samples, image.expand_as(samples))


@each_sampler
def test_an_image_does_not_depend_on_its_batch(name):
    schedule, label = by_angle(12, first=0.1), torch.tensor([0, 1, 2, 0, 1, 2])

    def run(images):
        noise, labels = ImageNoise(7, images, (1, 2, 2)), label[images]
        gradient = scaled(classifier_gradient(DATA.classifier(schedule), schedule, labels), 3.0)
        start = noise.start().double()
        return last(sampler_of(name)(DATA.denoise(schedule), start, schedule, noise, gradient))

    together = run([0, 1, 2, 3, 4, 5])
    torch.testing.assert_close(run([4, 2]), together[[4, 2]])
    torch.testing.assert_close(run([3]), together[[3]])


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.general])
def test_samples_of_many_steps_have_the_moments_of_the_data(name):
    """Mean, covariance and class shares: within 5 standard errors at 100 steps, not at 4."""
    x = normal((4000, 1, 2, 2), 5)

    def worst(steps):
        schedule, generator = by_angle(steps, first=1.5 / steps), seeded(6)

        def noise(level, draw=0):
            return torch.randn(x.shape, dtype=torch.float64, generator=generator)

        drawn = last(sampler_of(name)(DATA.denoise(schedule), x, schedule, noise))
        flat = drawn.flatten(1)
        away = flat - DATA.mean
        products = (away[:, :, None] * away[:, None]).flatten(1) - DATA.covariance.flatten()
        clean = by_angle(2, first=0.1)
        shares = DATA.logits(clean, drawn, 0).softmax(1) - DATA.class_weights
        errors = torch.cat([away, products, shares], dim=1)
        return (errors.mean(0).abs() / (errors.std(0) / len(errors) ** 0.5)).max().item()

    assert worst(4) > 10
    assert worst(100) < 5


@each_sampler
@pytest.mark.parametrize("levels", [4, 7])
def test_a_sampler_states_how_often_it_evaluates_the_network(name, levels):
    schedule, x = by_angle(levels, first=0.1), normal((2, 1, 2, 2), 0)
    denoise, calls = counted(DATA.denoise(schedule))
    last(sampler_of(name)(denoise, x, schedule, noise_like(x)))
    assert len(calls) == sampler_of(name).evaluations(levels)


NOISIEST = 1.5  # angle of the level that the solvers of the next law start from
START = normal((32, 1, 2, 2), 0)


@cache
def solved():
    """The end of the probability-flow ODE in the angle, solved by another method to 1e-12."""

    def velocity(angle, flat):
        x_t, angle = torch.from_numpy(flat).reshape(START.shape), torch.tensor(angle).double()
        alpha_bar = (angle.cos() ** 2).reshape(1, 1)
        noise = -angle.sin() * DATA.score(x_t, alpha_bar)
        x_0 = DATA.earlier(x_t, alpha_bar, torch.ones_like(alpha_bar)).mean
        return (angle.cos() * noise - angle.sin() * x_0).flatten().numpy()

    span, start = (NOISIEST, 0.0), START.flatten().numpy()
    solution = solve_ivp(velocity, span, start, method="DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(solution.y[:, -1].copy()).reshape(START.shape)


def graded(steps):
    """Levels whose first and last steps are small, so that their lower order is not the error's.

    The angle is a cubic of the level with no slope at its ends: steps of the size 1 / N^2 there.
    """
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    angles = NOISIEST * share**2 * (3 - 2 * share)
    return Schedule(angles.cos() ** 2, torch.arange(-1, steps, dtype=torch.float32))


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_of_a_solver_falls_at_its_order(name):
    counts, errors = [80, 160, 320], []
    for steps in counts:
        schedule = graded(steps)
        samples = last(sampler_of(name)(DATA.denoise(schedule), START, schedule, noise_like(START)))
        errors.append(rms(samples - solved()))
    assert slope(counts, errors) == pytest.approx(ORDERS[name], abs=0.45), errors


def unit_noise(steps):
    """Noise that is 1 for image i at draw i alone, the start being draw 0; 0 for the last image.

    An image of one Gaussian is linear in its noises: its variance is the sum of the squares of
    their factors.
    """
    factors = torch.eye(steps + 2, dtype=torch.float64)[:, :-1]
    return lambda level, draw=0: factors[:, level].reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


# At which mean and covariance of a Gaussian converge, or a lower bound.
ORDERS_OF_MOMENTS = {"ddim": 1, "dpm-solver:order=1": 1, "dpm-solver": 2, "unipc": 2}


@pytest.mark.parametrize("name", ORDERS_OF_MOMENTS)
@pytest.mark.parametrize("added", ["eta=0", "eta=0.5", "eta=1", "eta=1.4", "eta=1,noise=1-N/2"])
def test_with_any_eta_the_moments_of_a_gaussian_converge_at_the_order(name, added):
    if name == "ddim" and added == "eta=1.4":
        pytest.skip("eta of DDIM is at most 1")
    data, counts, errors = one_gaussian(0.2), [80, 160, 320], []
    for steps in counts:
        schedule, noise = graded(steps), unit_noise(steps)
        first = (0.2 * schedule.alpha_bar[-1] + schedule.sigma[-1] ** 2).sqrt() * noise(0)
        spec = f"{name}{',' if ':' in name else ':'}{added}".replace("N/2", str(steps // 2))
        start = schedule.signal[-1] * data.means + first
        samples = last(sampler_of(spec)(data.denoise(schedule), start, schedule, noise))
        torch.testing.assert_close(samples[-1:], data.means)
        errors.append(abs(((samples[:-1] - samples[-1]) ** 2).sum(0).mean().item() - 0.2))
    assert slope(counts, errors) > ORDERS_OF_MOMENTS[name] - 0.1, errors
    assert errors[-1] < 0.01, errors


@pytest.mark.parametrize("name", ["ddim", "dpm-solver", "unipc"])
def test_noise_is_added_only_in_its_interval(name):
    schedule, x = by_angle(7, first=0.1), normal((2, 1, 2, 2), 0)

    def run(spec, seed=100):
        denoise, noise = DATA.denoise(schedule), noise_like(x, seed)
        return [s.x for s in sampler_of(f"{name}:{spec}")(denoise, x, schedule, noise)]

    ode, inside, other = run("eta=0"), run("eta=1,noise=3-5"), run("eta=1,noise=3-5", 200)
    assert [torch.equal(*pair) for pair in zip(ode, inside, strict=True)] == [True] * 2 + 5 * [0]
    assert all(map(torch.equal, run("eta=1,noise=0-0"), ode))
    assert all(map(torch.equal, run("eta=1,noise=1-7"), run("eta=1")))
    assert not torch.equal(inside[2], other[2])


def test_an_interval_of_noise_counts_the_levels_that_are_visited():
    visited = [3, 25.5, 880, 950]
    sampler = sampler_of("unipc:eta=1,noise=20-900")
    assert sampler.visiting(visited).noise == (2, 3)
    assert sampler.visiting([3, 950]).noise == (0, 0)
    assert sampler_of("unipc:eta=1").visiting(visited).noise is None


def test_the_noise_of_a_prediction_is_that_of_its_correction():
    """With order 1 and a network that predicts one image, nothing is left to correct."""
    schedule, x = by_angle(9, first=0.1), normal((2, 1, 2, 2), 0)
    one = torch.ones(1, dtype=torch.float64)
    data = Mixture(normal((1, 1, 2, 2), 1), 0 * one, one, one.long() * 0)
    runs = [
        sampler_of(name)(data.denoise(schedule), x, schedule, noise_like(x))
        for name in ("unipc:order=1,eta=0.7", "dpm-solver:order=1,eta=0.7")
    ]
    for state, same in zip(*runs, strict=True):
        torch.testing.assert_close(state.x, same.x)


@each_sampler
def test_a_solver_ignores_noise_and_a_random_sampler_does_not(name):
    schedule, x = cosine(10), normal((2, 1, 2, 2), 0)
    runs = [
        last(sampler_of(name)(DATA.denoise(schedule), x, schedule, noise_like(x, seed)))
        for seed in (100, 200)
    ]
    assert torch.equal(*runs) == (name in SOLVERS) != sampler_of(name).random


@each_sampler
def test_a_scale_of_0_is_no_guidance(name):
    schedule, x = by_angle(20, first=0.05), normal((6, 1, 2, 2), 0)
    label = torch.tensor([0, 1, 2] * 2)
    gradient = scaled(classifier_gradient(DATA.classifier(schedule), schedule, label), 0.0)
    sampler, denoise = sampler_of(name), DATA.denoise(schedule)
    free = last(sampler(denoise, x, schedule, noise_like(x)))
    guided = last(sampler(denoise, x, schedule, noise_like(x), gradient))
    torch.testing.assert_close(guided, free, rtol=0, atol=1e-10)


LABEL = torch.tensor([0, 1, 2, 1] * 16)


def guided_and_conditional(sampler, steps):
    schedule, x = by_angle(steps, first=1.5 / steps), normal((64, 1, 2, 2), 2)
    pull = DATA.gradient(schedule, LABEL)
    noise = noise_like(x)
    guided = last(sampler(DATA.denoise(schedule), x, schedule, noise, pull))
    return guided, last(sampler(DATA.denoise(schedule, LABEL), x, schedule, noise))


@pytest.mark.parametrize("name", FOLDING)
def test_an_exact_classifier_makes_a_sampler_of_algorithm_2_conditional(name):
    guided, conditional = guided_and_conditional(sampler_of(name), 25)
    torch.testing.assert_close(guided, conditional, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [*IN_THE_LIMIT, "ancestral:at_mean=true"])
def test_an_exact_classifier_makes_any_other_sampler_conditional_in_the_limit(name):
    counts = [25, 50, 100, 200]
    errors = [rms(torch.sub(*guided_and_conditional(sampler_of(name), n))) for n in counts]
    assert slope(counts, errors) > 0.8, errors
    assert errors[-1] < 0.01, errors


@pytest.mark.parametrize(("at_mean", "levels"), [(False, [3, 2, 1]), (True, [2, 1, 1])])
def test_the_gradient_is_evaluated_at_its_image_and_level(at_mean, levels):
    schedule, calls = cosine(3), []
    x = normal((2, 1, 2, 2), 0)
    plain = list(Ancestral()(DATA.denoise(schedule), x, schedule, noise_like(x)))

    def gradient(x_t, level, prediction):
        calls.append((x_t, level))
        return torch.zeros_like(x_t)

    sampler = Ancestral(at_mean=at_mean)
    list(sampler(DATA.denoise(schedule), x, schedule, noise_like(x), gradient))
    assert [level for _, level in calls] == levels
    images = [x, *[s.x for s in plain[:-1]]]
    means = [
        mean_of(schedule, s.prediction, x_t, s.level + 1)
        for s, x_t in zip(plain, images, strict=True)
    ]
    expected = means if at_mean else images
    for (point, _), image in zip(calls, expected, strict=True):
        torch.testing.assert_close(point, image)


@each_sampler
def test_more_scale_is_more_of_the_class(name):
    schedule, x = by_angle(30, first=0.05), normal((300, 1, 2, 2), 3)
    label = torch.arange(300) % 3

    def share(scale):
        gradient = scaled(DATA.gradient(schedule, label), scale)
        noise = noise_like(x)
        samples = last(sampler_of(name)(DATA.denoise(schedule), x, schedule, noise, gradient))
        return DATA.logits(schedule, samples, 0).softmax(1).gather(1, label[:, None]).mean()

    assert share(0) < 0.4  # a third, by chance
    assert share(1) > 0.9
    assert share(-1) < 0.2


@pytest.mark.parametrize("name", [name for name in FACTS if name != "splitting"])
def test_a_state_shows_the_guided_estimate(name):
    """Each state's x_0 is that of Algorithm 2, whichever algorithm made the step."""
    schedule, x = by_angle(10, first=0.1), normal((64, 1, 2, 2), 3)
    pull = scaled(DATA.gradient(schedule, LABEL), 3.0)
    guided = folded(DATA.denoise(schedule), pull, schedule)
    x_t = x
    for state in sampler_of(name)(DATA.denoise(schedule), x, schedule, noise_like(x), pull):
        torch.testing.assert_close(state.prediction.x_0, guided(x_t, state.level + 1).x_0)
        x_t = state.x


def test_a_state_shows_the_guided_estimate_where_the_paper_takes_the_gradient():
    """With one gradient at all points, the place of its evaluation changes no state."""
    schedule, x = by_angle(10, first=0.1), normal((64, 1, 2, 2), 3)
    constant = normal((64, 1, 2, 2), 4)
    denoise, noise = DATA.denoise(schedule), noise_like(x)
    runs = [
        Ancestral(at_mean=at_mean)(denoise, x, schedule, noise, lambda x_t, level, p: constant)
        for at_mean in (False, True)
    ]
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one.x, other.x)
        torch.testing.assert_close(one.prediction.x_0, other.prediction.x_0)
        torch.testing.assert_close(one.prediction.noise, other.prediction.noise)


@pytest.mark.parametrize("steps", [2, 5, 17])
def test_ancestral_sampling_of_a_gaussian_is_exact_in_any_number_of_steps(steps):
    data, schedule = one_gaussian(0.2), by_angle(steps, first=0.3)
    alpha_bar = schedule.alpha_bar[-1]
    noise = unit_noise(steps)
    start = schedule.signal[-1] * data.means + (alpha_bar * 0.2 + 1 - alpha_bar).sqrt() * noise(0)
    samples = last(Ancestral()(data.denoise(schedule), start, schedule, noise))
    torch.testing.assert_close(samples[-1:], data.means)
    # The last step returns its mean: the variance that it would add is left out.
    left_out = data.denoise(schedule)(start[:1], 1).variance.value[0]
    spread = ((samples[:-1] - samples[-1]) ** 2).sum(0) + left_out
    torch.testing.assert_close(spread, torch.full_like(spread, 0.2))
