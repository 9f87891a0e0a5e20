"""A student of the exact guided sampler of a Gaussian mixture reaches the exact map."""

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import Mixture, four_modes, last, noise_like, normal, one_gaussian, rms, slope
from torch import nn

from adm.diffusion import (
    FIXED_SMALL,
    VELOCITY,
    Parameterization,
    Prediction,
    Variance,
    cosine,
    process,
)
from adm.diffusion.schedule import at
from adm.distillation import (
    ConsistencyTuning,
    Distillation,
    Lesson,
    Trajectory,
    conditions,
    step_to,
    student_of,
)
from adm.guidance import between, folded, scaled
from adm.images import to_uint8
from adm.samplers import DDIM, Consistency, DPMSolver, Even, LogSNR
from adm.training.batches import Batch, draw

DATA, PROCESS = four_modes(), cosine(100)
LEVELS = LogSNR(steps=8, start=98).visited(PROCESS)
SHAPE = (1, 2, 2)


def teacher_of(data: Mixture):
    """The exact denoiser, guided by the exact classifier at a scale of each image's own."""

    def teach(schedule, labels, scales, inside=None):
        factor = scales.reshape(-1, 1, 1, 1)
        pull = scaled(data.gradient(schedule, labels), lambda level: factor)
        pull = pull if inside is None else between(pull, *inside)
        return folded(data.denoise(schedule), pull, schedule)

    return teach


def lesson_of(steps=(1, 2, 4), student=None, data=DATA, scales=(0.0, 3.0)) -> Lesson:
    return Lesson(PROCESS, LEVELS, steps, scales, teacher_of(data), student or learner())


def learner(names=("next", "scale")):
    return student_of(names, Parameterization(VELOCITY, FIXED_SMALL), nullcontext)


def batch(count: int, start: int = 0, data: Mixture = DATA) -> Batch:
    """Images of the mixture in float64, as far as 8 bits show them."""
    draws = draw(5, start, count, SHAPE)
    x_0, labels = data.sample(count, torch.Generator().manual_seed(start))
    return Batch(to_uint8(x_0.float()), labels, draws._replace(noise=draws.noise.double()))


def exactly(moves):
    """A student that moves exactly by `moves`: (denoise, x_t, level, next level) -> x_s."""

    def student(network, schedule, labels, scales):
        denoise = teacher_of(DATA)(schedule, labels, scales)

        def jump(x_t, level, following):
            x_s = moves(denoise, schedule, x_t, level, following)
            t, s = (torch.as_tensor(each).expand(len(x_t)) for each in (level, following))
            x_0 = x_0_of_step(schedule, x_t, t, x_s, s)
            return replace(denoise(x_t, level), x_0=x_0, noise=_noise(schedule, x_t, x_0, t))

        return jump

    return student


def x_0_of_step(schedule, x_t, level, x_s, following):
    """The x_0 with which DDIM steps from x_t to x_s."""
    ratio = at(schedule.sigma, following, x_t) / at(schedule.sigma, level, x_t)
    factor = at(schedule.signal, following, x_t) - ratio * at(schedule.signal, level, x_t)
    return (x_s - ratio * x_t) / factor


def _noise(schedule, x_t, x_0, level):
    return process.noise_from_x_0(schedule, x_t, x_0, level)


def ddim_steps(denoise, schedule, x_t, level, following):
    """Steps of DDIM through all levels between."""
    level = torch.as_tensor(level)
    for _ in range(int((level - following).reshape(-1)[0])):
        x_t = step_to(schedule, denoise(x_t, level), level - 1)
        level = level - 1
    return x_t


def one_step(denoise, schedule, x_t, level, following):
    """A step of DDIM from one level to the other."""
    return step_to(schedule, denoise(x_t, level), following)


def test_the_exact_student_of_a_trajectory_of_ddim_has_no_loss():
    lesson = lesson_of(steps=(1, 2, 4, 8), student=exactly(ddim_steps))
    for objective in Trajectory(order=1).stages(lesson):
        assert float(objective(nn.Identity(), batch(64)).loss.max()) < 1e-10
    plain = lesson_of(student=exactly(one_step))
    assert float(Trajectory(order=1).stages(plain)[0](nn.Identity(), batch(64)).loss.mean()) > 1e-2


def test_a_trajectory_trains_every_number_of_steps():
    """The loss is the mean over all steps of students that learn one number of steps each."""
    plain = exactly(one_step)
    (objective,) = Trajectory().stages(lesson_of(steps=(1, 2, 4), student=plain))
    loss, shown, _ = objective(nn.Identity(), batch(16))
    alone = [lesson_of(steps=(steps,), student=plain) for steps in (1, 2, 4)]
    losses = [Trajectory().stages(lesson)[0](nn.Identity(), batch(16)).loss for lesson in alone]
    assert min(float(each.mean()) for each in losses) > 1e-3
    counted = [steps * each for steps, each in zip((1, 2, 4), losses, strict=True)]
    torch.testing.assert_close(loss, torch.stack(counted).sum(dim=0) / 7)
    for steps, each in zip((1, 2, 4), losses, strict=True):
        torch.testing.assert_close(shown[f"loss_{steps}"], each)


@pytest.mark.parametrize("interval", [None, (20, 60)])
def test_the_points_of_a_trajectory_are_those_of_the_guided_sampler(interval):
    """A student that stays where it is has the distance to the sampler's points as its loss."""

    def still(network, schedule, labels, scales):
        denoise = DATA.denoise(schedule)
        return lambda x, level, following: replace(
            denoise(x, level), x_0=torch.zeros_like(x), noise=torch.zeros_like(x)
        )

    lesson, examples = replace(lesson_of((1,), still), interval=interval), batch(16)
    scales = lesson.draw_scales(examples.draws, examples.draws.noise)
    schedule = PROCESS.visiting(LEVELS)

    def guided(x, level):
        low, high = interval or (0, 100)
        inside = low <= LEVELS[level - 1] <= high
        return teacher_of(DATA)(schedule, examples.labels, scales * inside)(x, level)

    states = DPMSolver(order=3)(
        guided,
        examples.draws.noise,
        schedule,
        noise_like(examples.draws.noise),
    )
    (objective,) = Trajectory(order=3).stages(lesson)
    loss = objective(nn.Identity(), examples).loss
    torch.testing.assert_close(loss, last(states).abs().flatten(1).mean(dim=1))


def test_the_loss_of_the_exact_consistency_map_falls_with_the_stage():
    """The teacher's step is of first order, so the loss, a distance by t - r, halves with t - r."""
    data, process_ = one_gaussian(0.3), cosine(4000)
    lesson = replace(lesson_of(data=data), process=process_, levels=[1, 3900])

    def student(network, schedule, labels, scales):
        def jump(x_t, level, following):
            signal = schedule.signal[level].reshape(-1, 1, 1, 1)
            spread = signal**2 * 0.3 + 1 - signal**2
            x_0 = data.means + (0.3 / spread).sqrt() * (x_t - signal * data.means)
            return replace(data.denoise(schedule)(x_t, level.clamp(min=1)), x_0=x_0)

        return jump

    lesson, examples = replace(lesson, student=student), batch(400, data=data)
    method = ConsistencyTuning(huber=0.0, mean=0.0, deviation=0.5)
    losses = [
        float(each(nn.Identity(), examples).loss.mean()) for each in method.stages(lesson)[4:8]
    ]
    assert slope([2**k for k in range(4)], losses) == pytest.approx(1, abs=0.1)


class Affine(nn.Module):
    """A student with an affine map of x_t and the scale for each step between two levels."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        shape = (levels + 1, levels + 1)
        self.factor = nn.Parameter(torch.zeros(*shape, 1, 1, 1).double())
        self.shift, self.per_scale = (
            nn.Parameter(torch.zeros(*shape, *SHAPE).double()) for _ in range(2)
        )


def affine(network, schedule, labels, scales):
    def jump(x_t, level, following):
        t, s = (torch.as_tensor(each).expand(len(x_t)) for each in (level, following))
        x_0 = network.factor[t, s] * x_t + network.shift[t, s]
        x_0 = x_0 + scales.reshape(-1, 1, 1, 1) * network.per_scale[t, s]
        x_0 = torch.where((t == 0).reshape(-1, 1, 1, 1), x_t, x_0)
        some = t.clamp(min=1)
        return Prediction.from_x_0(schedule, x_t, some, x_0, Variance(x_t, x_t))

    return jump


def test_a_step_learns_from_its_own_loss_alone():
    """And not from what later steps make of where it leads."""
    top, middle = len(LEVELS), len(LEVELS) // 2
    (objective,) = Trajectory().stages(lesson_of(steps=(2,), student=affine))
    learnt = []
    for later in (0.0, 1.5):
        network = Affine(top)
        network.factor.data[middle, 0] = later
        objective(network, batch(16)).loss.mean().backward()
        learnt.append(network.factor.grad[top, middle])
        assert network.factor.grad[middle, 0].abs() > 0
    assert learnt[0].abs() > 0
    torch.testing.assert_close(learnt[0], learnt[1], rtol=0, atol=0)


SLANTED = torch.tensor([0.5, -0.3, 0.0, 0.2]).double().reshape(1, *SHAPE)


def affinely(schedule, labels, scales, inside=None):
    """One Gaussian, guided along one direction: the sampler's map is affine, in the scale too."""
    factor = scales.reshape(-1, 1, 1, 1)
    return folded(
        one_gaussian(0.3).denoise(schedule), lambda x, level, p: factor * SLANTED, schedule
    )


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        (Trajectory(order=1), (1, 2, 4)),
        (ConsistencyTuning(stage_steps=20, huber=1.0, mean=0.0), (1,)),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_trained_student_reaches_the_map_of_the_exact_guided_sampler(method, steps):
    # Tuning passes what it learns from level to level, so fewer of them take fewer steps.
    few = method.name == "consistency"
    process_ = cosine(9 if few else 20)
    levels = [2, 4, 6, 8] if few else [1, 4, 7, 9, 11, 13, 16, 18]
    lesson = Lesson(process_, levels, steps, (0.0, 3.0), affinely, affine)
    network, objectives = Affine(20), method.stages(lesson)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    updates = 400 if method.name == "trajectory" else 1000
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    before = [error_of(lesson, network, number, method) for number in steps]
    for step in range(updates):
        examples = batch(24, 24 * step, data=one_gaussian(0.3))
        outcome = objectives[method.stage(step)](network, examples)
        optimizer.zero_grad()
        outcome.loss.mean().backward()
        optimizer.step()
        decay.step()
    after = [error_of(lesson, network, number, method) for number in steps]
    assert min(before) > 0.4
    assert max(after) < 0.01


def error_of(lesson, network, steps, method) -> float:
    """Root mean square difference to the teacher's images from the same noise."""
    x, labels, scales = normal((600, *SHAPE), 9), torch.zeros(600).long(), torch.rand(600) * 3
    schedule = lesson.process.visiting(lesson.levels)
    if method.name == "consistency":  # from every level to the next
        schedule = lesson.process.respaced(range(1, 9))
    truth = last(DDIM()(affinely(schedule, labels, scales.double()), x, schedule, noise_like(x)))
    jump = lesson.student(network, schedule, labels, scales.double())
    stride = schedule.last // steps
    with torch.no_grad():
        for level in range(schedule.last, 0, -stride):
            following = level - stride
            x = step_to(schedule, jump(x, level, following), following)
    return rms(x - truth)


def test_consistency_sampling_of_the_exact_map_has_the_moments_of_the_data():
    data, schedule = one_gaussian(0.3), cosine(100).respaced([30, 60, 98])

    def image(x_t, level):
        signal = schedule.signal[level]
        spread = signal**2 * 0.3 + 1 - signal**2
        x_0 = data.means + (0.3 / spread).sqrt() * (x_t - signal * data.means)
        return replace(data.denoise(schedule)(x_t, level), x_0=x_0)

    x = normal((20000, *SHAPE), 3)
    states = list(Consistency()(image, x, schedule, noise_like(x)))
    samples = states[-1].x
    error = 5 * math.sqrt(0.3 / len(x))
    assert (samples.mean(dim=0) - data.means[0]).abs().max() < error
    assert (samples.var(dim=0) - 0.3).abs().max() < 5 * 0.3 * math.sqrt(2 / len(x))
    assert not torch.equal(states[0].x, states[-1].x)


@pytest.mark.parametrize("stage", range(8))
def test_the_lower_level_of_tuning_is_that_of_its_formula(stage):
    method = ConsistencyTuning()
    t = torch.tensor([0.01, 0.3, 1.0, 5.0, 40.0]).double()
    share = [(1 + 8 / (1 + math.exp(each))) / 2 ** (stage + 1) for each in t.tolist()]
    expected = [max(0.0, each * (1 - part)) for each, part in zip(t.tolist(), share, strict=True)]
    torch.testing.assert_close(method.lower(t, stage), torch.tensor(expected).double())
    process_ = cosine(1000)
    level, below = method.levels(process_, 980, np.linspace(0, 1, 401)[:-1], stage)
    assert (below < level).all()
    assert (below >= 0).all()
    assert level.max() <= 980
    ratio = process_.noise_to_signal
    wide = (level - below) > 8  # where whole levels are fine enough
    actual, formula = ratio[below[wide]], method.lower(ratio[level[wide]], stage)
    torch.testing.assert_close(actual, formula, rtol=0.08, atol=float(ratio[1]))


def test_the_levels_of_tuning_are_log_normal():
    process_ = cosine(1000)
    uniform = (np.arange(4000) + 0.5) / 4000
    level, _ = ConsistencyTuning(mean=-1.0, deviation=1.0).levels(process_, 980, uniform, 3)
    logs = process_.noise_to_signal[level].log()
    assert float(logs.mean()) == pytest.approx(-1, abs=0.01)
    assert float(logs.std()) == pytest.approx(1, abs=0.02)


def test_conditions_are_columns_in_the_order_of_their_names():
    schedule, x = PROCESS.visiting(LEVELS), normal((3, *SHAPE), 0)
    scales = torch.tensor([0.0, 1.0, 2.5])
    columns = conditions(("scale", "next"), schedule, x, torch.tensor([0, 3, 7]), scales)
    assert columns is not None
    assert torch.equal(columns[:, 0], scales)
    assert torch.equal(columns[:, 1], schedule.timesteps[[0, 3, 7]])
    same = conditions(("scale",), schedule, x, 2, 1.5)
    assert same is not None
    assert same.tolist() == [[1.5]] * 3
    assert conditions((), schedule, x, 2, 1.5) is None


def test_levels_of_fewer_steps_are_among_those_of_more():
    how = Distillation(grid=Even(steps=16), steps=(1, 2, 4, 8, 16))
    levels = {steps: how.levels(cosine(16), steps) for steps in how.steps}
    for steps in how.steps:
        assert set(levels[steps]) <= set(levels[min(16, 2 * steps)])
        assert levels[steps][-1] == 16
        assert len(levels[steps]) == steps
    for wrong in (3, 5, 0, 32):
        with pytest.raises(ValueError, match=f"steps must be 1 or .* got {wrong}; this model is"):
            how.levels(cosine(16), wrong)


def test_scales_are_uniform_in_their_range():
    scales = lesson_of(scales=(1.0, 3.0)).draw_scales(
        draw(0, 0, 4000, SHAPE), torch.zeros(1).double()
    )
    assert 1 <= float(scales.min()) < 1.01
    assert 2.99 < float(scales.max()) <= 3
    assert float(scales.mean()) == pytest.approx(2, abs=0.04)


def test_the_image_from_the_lower_level_is_a_target_that_learns_nothing():
    """A student w x_t, by hand: its target w x_r is a constant, and at level 0 x_r itself."""
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    stage, calls = 2, {}

    def student(network, schedule, labels, scales):
        def jump(x_t, level, following):
            calls[bool(torch.is_grad_enabled())] = x_t, level
            x_0 = torch.where(level.reshape(-1, 1, 1, 1) == 0, torch.nan, weight * x_t)
            return Prediction(x_0, torch.zeros_like(x_t), None)

        return jump

    method = ConsistencyTuning(huber=0.5, last_stage=stage)
    lesson = lesson_of(student=student, scales=(0.0, 0.0))
    loss, _, _ = method.stages(lesson)[stage](nn.Identity(), batch(256))
    (x_t, level), (x_r, below) = calls[True], calls[False]
    assert 0 < int((below == 0).sum()) < len(below)
    clean = (below == 0).reshape(-1, 1, 1, 1)
    target = torch.where(clean, x_r, 0.7 * x_r)
    fixed = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    away = (fixed * x_t - target).flatten(1).square().sum(1)
    apart = PROCESS.noise_to_signal[level] - PROCESS.noise_to_signal[below]
    expected = ((away + 0.5**2).sqrt() - 0.5) / apart
    torch.testing.assert_close(loss, expected)
    pulls = (
        torch.autograd.grad(each.sum(), of)[0] for each, of in [(loss, weight), (expected, fixed)]
    )
    torch.testing.assert_close(*pulls)
