"""classifier, level -> Gradient; Gradients -> Gradient; Denoise, Gradient -> Denoise."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from oracle import (
    Mixture,
    by_angle,
    counted,
    fixed_variance,
    four_modes,
    last,
    mean_of,
    noise_like,
    normal,
    seeded,
)
from torch import nn

from adm.diffusion import clip, cosine, process
from adm.generation.guides import with_guides
from adm.guidance import (
    Contrast,
    between,
    classifier_gradient,
    contrasted,
    evaluate,
    every,
    folded,
    scaled,
    shifted,
    thresholded,
    through_denoiser,
    total,
)
from adm.samplers import DDIM, Sampling

DATA, SCHEDULE = four_modes(), cosine(40)
LABEL = torch.tensor([0, 1, 2, 1, 0])
DENOISE = DATA.denoise(SCHEDULE)
EXACT = DATA.gradient(SCHEDULE, LABEL)


def noisy(level):
    x_0, _ = DATA.sample(len(LABEL), seeded(0))
    return process.diffuse(SCHEDULE, x_0, normal(tuple(x_0.shape), 1), level)


def guide(label=LABEL, schedule=SCHEDULE):
    return classifier_gradient(DATA.classifier(schedule), schedule, label)


def at(gradient, level, x_t=None):
    """The gradient of the noisy images of a level, or of `x_t`."""
    x_t = noisy(level) if x_t is None else x_t
    return gradient(x_t, level, None)


@pytest.mark.parametrize("level", [1, 20, 40])
def test_a_classifiers_gradient_is_the_closed_form(level):
    # The gradient is taken of float32 log-probabilities.
    torch.testing.assert_close(at(guide(), level).double(), at(EXACT, level), rtol=1e-5, atol=1e-5)


def test_each_image_may_have_a_level_of_its_own():
    levels = torch.tensor([1, 40, 7, 20, 2])
    actual = at(guide(), levels).double()
    torch.testing.assert_close(actual, at(EXACT, levels), rtol=1e-5, atol=1e-5)


def test_a_gradient_does_not_depend_on_the_batch():
    x_t = noisy(10)
    together = at(guide(), 10)
    assert together.abs().max() > 0.1
    for i in range(len(LABEL)):
        alone = at(guide(LABEL[i : i + 1]), 10, x_t[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-6, atol=1e-7)


def test_the_classifier_receives_original_timesteps_after_respacing():
    respaced = SCHEDULE.respaced([3, 10, 40])
    actual = at(guide(schedule=respaced), 2, noisy(10))
    torch.testing.assert_close(actual, at(guide(), 10))


def test_a_gradient_is_computed_under_no_grad_and_of_frozen_parameters():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    network.requires_grad_(False)
    x = noisy(10).float()
    gradient = classifier_gradient(lambda x_t, timestep: network(x_t), SCHEDULE, LABEL)
    with torch.no_grad():
        pull = at(gradient, 10, x)
    assert not pull.requires_grad
    assert (pull.flatten(1).abs().amax(1) > 0).all()
    thawed = network.requires_grad_(True)
    torch.testing.assert_close(at(gradient, 10, x), pull)
    assert all(p.grad is None for p in thawed.parameters()), "nothing is left on the parameters"


def test_the_input_image_is_unchanged():
    x_t = noisy(10)
    at(guide(), 10, x_t)
    assert not x_t.requires_grad
    assert x_t.grad is None


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.5, 8.0])
def test_a_scale_multiplies(scale):
    torch.testing.assert_close(at(scaled(EXACT, scale), 10), scale * at(EXACT, 10))


def test_a_scale_may_follow_the_level():
    rising = scaled(EXACT, lambda level: level / 10)
    for level in (5, 20):
        torch.testing.assert_close(at(rising, level), level / 10 * at(EXACT, level))


def test_gradients_add_up_to_that_of_both_conditions():
    """Two exact gradients of one classifier: log p(y | x) + log p(z | x)."""
    other = DATA.gradient(SCHEDULE, LABEL.flip(0))
    torch.testing.assert_close(at(total(EXACT, other), 10), at(EXACT, 10) + at(other, 10))
    thrice = at(total(EXACT, other, other), 10)
    torch.testing.assert_close(thrice, at(EXACT, 10) + 2 * at(other, 10))
    with pytest.raises(ValueError, match="at least one"):
        total()


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm-solver:order=2", "splitting"])
def test_two_independent_classifiers_sample_the_product_posterior(sampler):
    """Of independent pixels, each classified by itself: log p(y, z | x_t) is the sum, exactly."""
    of_pixels = torch.tensor([-0.7, 0.6], dtype=torch.float64)
    means = torch.cartesian_prod(of_pixels, of_pixels - 0.2).reshape(4, 1, 1, 2)
    weights = torch.outer(torch.tensor([0.3, 0.7]), torch.tensor([0.6, 0.4])).flatten().double()
    pairs = Mixture(means, torch.full((4,), 0.04).double(), weights, torch.arange(4))
    left, right = (replace(pairs, labels=torch.tensor(y)) for y in ([0, 0, 1, 1], [0, 1, 0, 1]))
    label = torch.tensor([0, 1, 2, 3, 2, 0])
    schedule = cosine(1000).respaced(range(50, 1001, 50))
    sampling = Sampling().change(
        sampler=sampler,
        grid=f"levels:{','.join(map(str, range(50, 1001, 50)))}",
        guide=["classifier:scale=1,by=left", "classifier:scale=1,by=right"],
    )

    class Exact:
        """The exact denoiser and gradients, by the names of guides."""

        def denoise(self, weaker=None):
            return fixed_variance(pairs.denoise(schedule), schedule)

        def gradient(self, guide):
            of = {"left": (left, label // 2), "right": (right, label % 2)}
            return of[guide.by][0].gradient(schedule, of[guide.by][1])

    denoise, pull = with_guides(sampling, cosine(1000), Exact())
    x = normal((6, 1, 1, 2), 3)
    exact, y = pairs.gradient(schedule, label), noise_like(x)
    expected = last(sampling.sampler(Exact().denoise(), x, schedule, y, exact))
    torch.testing.assert_close(last(sampling.sampler(denoise, x, schedule, y, pull)), expected)
    if sampler == "ddim":  # its guided denoiser is that of the posterior
        posterior = last(DDIM()(pairs.denoise(schedule, label), x, schedule, y))
        torch.testing.assert_close(expected, posterior)


def test_an_interval_guides_inside_and_evaluates_nothing_outside():
    calls = []

    def counted(x_t, level, prediction):
        calls.append(level)
        return EXACT(x_t, level, prediction)

    inside = between(counted, 5, 20)
    for level in (1, 4, 21, 40):
        assert at(inside, level).abs().max() == 0
    assert not calls
    for level in (5, 20):
        torch.testing.assert_close(at(inside, level), at(EXACT, level))
    levels = torch.tensor([1, 5, 20, 21, 40])
    mixed, whole = at(inside, levels), at(EXACT, levels)
    torch.testing.assert_close(mixed[1:3], whole[1:3])
    assert mixed[[0, 3, 4]].abs().max() == 0
    with pytest.raises(ValueError, match="low must be at most high, got low=3 and high=2"):
        between(EXACT, 3, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_gradient_is_reused_at_the_levels_between(count):
    calls = []

    def counted(x_t, level, prediction):
        calls.append(level)
        return torch.full_like(x_t, level)

    reused = every(counted, count)
    visited = [10, 9, 9, 8, 7, 6, 5]  # 9 twice, as by a sampler that evaluates it twice
    values = [at(reused, level).max().item() for level in visited]
    due = dict(zip((10, 9, 8, 7, 6, 5), range(6), strict=True))
    assert values == [max(v for v in due if due[v] == due[w] // count * count) for w in visited]
    assert len(calls) == len([level for level in visited if due[level] % count == 0])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        every(EXACT, 0)


def test_a_batch_of_levels_counts_as_visited_once():
    """Levels of several images are the same visit if they are equal, in whichever tensor."""
    reused = every(lambda x_t, level, prediction: level.double(), 2)
    visited = [torch.tensor(levels) for levels in ([9, 7], [9, 7], [8, 6], [7, 5])]
    values = [at(reused, level, noisy(1)).tolist() for level in visited]
    assert values == [[9, 7], [9, 7], [9, 7], [7, 5]]


def test_algorithm_2_with_the_exact_gradient_is_the_conditional_model():
    for level in (1, 10, 40):
        actual = folded(DENOISE, EXACT, SCHEDULE)(noisy(level), level)
        conditional = DATA.denoise(SCHEDULE, LABEL)(noisy(level), level)
        torch.testing.assert_close(actual.noise, conditional.noise)
        torch.testing.assert_close(actual.x_0, conditional.x_0, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "guided",
    [
        folded(DENOISE, scaled(EXACT, 5.0), SCHEDULE),
        contrasted(DATA.denoise(SCHEDULE, LABEL), Contrast(DENOISE, 3.0)),
        thresholded(DENOISE, clip, SCHEDULE),
        thresholded(folded(DENOISE, scaled(EXACT, 50.0), SCHEDULE), clip, SCHEDULE),
    ],
    ids=["folded", "contrast", "thresholded", "folded and thresholded"],
)
def test_every_derived_denoiser_is_consistent(guided):
    """x_0 and noise make up x_t, so a sampler may read either."""
    levels = torch.tensor([1, 3, 10, 30, 40])
    p = guided(noisy(levels), levels)
    assert (p.x_0 - DENOISE(noisy(levels), levels).x_0).abs().max() > 1e-3, "it does something"
    torch.testing.assert_close(process.diffuse(SCHEDULE, p.x_0, p.noise, levels), noisy(levels))


def test_a_contrast_of_factor_0_is_the_strong_denoiser_and_of_minus_1_the_weak_one():
    strong, weak, x_t = DATA.denoise(SCHEDULE, LABEL), DENOISE, noisy(10)
    for factor, same in ((0.0, strong), (-1.0, weak)):
        actual = contrasted(strong, Contrast(weak, factor))(x_t, 10)
        torch.testing.assert_close(actual.x_0, same(x_t, 10).x_0)
        torch.testing.assert_close(actual.noise, same(x_t, 10).noise)
        assert torch.equal(actual.variance.log, same(x_t, 10).variance.log)
        assert not torch.allclose(strong(x_t, 10).variance.log, weak(x_t, 10).variance.log)


def test_a_gradient_through_the_denoiser_needs_one_evaluation():
    """It equals the derivative by hand, which evaluates a second time."""
    denoise, calls = counted(DENOISE)
    target = normal((5, 1, 2, 2), 3)

    def log_p(prediction, level):
        return -((prediction.x_0 - target) ** 2).flatten(1).sum(1)

    prediction, pull = evaluate(denoise, through_denoiser(log_p), noisy(10), 10)
    assert calls == [10]
    assert not pull.requires_grad
    assert not prediction.x_0.requires_grad
    x = noisy(10).requires_grad_()
    by_hand = torch.autograd.grad(log_p(DENOISE(x, 10), 10).sum(), x)[0]
    torch.testing.assert_close(pull, by_hand)
    assert pull.abs().max() > 0.1


def test_an_evaluation_leaves_no_graph_whatever_the_gradient():
    """A gradient computed from the prediction retains the network's graph; a step must not."""
    prediction, pull = evaluate(DENOISE, lambda x_t, level, p: -p.x_0, noisy(10), 10)
    assert not pull.requires_grad
    assert not prediction.noise.requires_grad
    torch.testing.assert_close(pull, -prediction.x_0)


def test_a_gradient_through_the_denoiser_without_a_graph_names_the_cure():
    gradient = through_denoiser(lambda prediction, level: prediction.x_0.sum())
    with torch.no_grad(), pytest.raises(ValueError, match=r"outside torch\.no_grad"):
        evaluate(DENOISE, gradient, noisy(10), 10)


def test_the_two_algorithms_agree_in_the_limit_of_many_steps():
    """At one noise level, their difference relative to the shift halves as the steps double."""
    differences = []
    for steps in (25, 50, 100, 200):
        schedule, level = by_angle(steps, first=1.5 / steps), steps // 2
        x_0, _ = DATA.sample(5, seeded(0))
        x_t = process.diffuse(schedule, x_0, normal((5, 1, 2, 2), 1), level)
        p = DATA.denoise(schedule)(x_t, level)
        pull = DATA.gradient(schedule, LABEL)(x_t, level, p)
        first = p.variance.value * pull
        moved = shifted(p, pull, schedule, x_t, level)
        second = mean_of(schedule, moved, x_t, level) - mean_of(schedule, p, x_t, level)
        differences.append(((first - second).norm() / second.norm()).item())
    ratios = [a / b for a, b in pairwise(differences)]
    assert differences[0] > 0.05
    assert all(1.7 < ratio < 2.3 for ratio in ratios), differences


def test_algorithm_2_moves_the_mean_by_the_steps_noise():
    """Read as a shift of the mean, it is beta / sqrt(1 - beta) x gradient, exactly."""
    x_t, level = noisy(15), 15
    p, pull = DENOISE(x_t, level), normal(tuple(x_t.shape), 2)
    moved = mean_of(SCHEDULE, shifted(p, pull, SCHEDULE, x_t, level), x_t, level)
    beta = SCHEDULE.beta[level]
    shift = moved - mean_of(SCHEDULE, p, x_t, level)
    torch.testing.assert_close(shift, beta / (1 - beta).sqrt() * pull)


def test_a_shift_leaves_the_variance():
    x_t, p = noisy(15), DENOISE(noisy(15), 15)
    moved = shifted(p, normal(tuple(x_t.shape), 2), SCHEDULE, x_t, 15)
    assert moved.variance == p.variance
    assert replace(moved, x_0=p.x_0, noise=p.noise).variance == p.variance
