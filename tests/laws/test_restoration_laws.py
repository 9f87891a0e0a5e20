"""Measurement, prior -> samples of the posterior, which is known for a Gaussian mixture."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import (
    Mixture,
    by_angle,
    four_modes,
    last,
    noise_like,
    normal,
    one_gaussian,
    rms,
    sampler_of,
)
from torch.nn import functional as F

from adm.diffusion import Schedule, cosine, fractional, process
from adm.guidance import scaled
from adm.images import to_float, to_uint8
from adm.restoration import (
    DPS,
    METHODS,
    MMPS,
    Measurement,
    Prior,
    RePaint,
    adjoint_of,
    is_linear,
    operator_of,
    solve,
)
from adm.spec import SettingError, parse

SHAPE = (3, 16, 12)
PROCESS = cosine(1000)
COUNT = 2000
SIGMA = 0.3
# y has a mean of two pixels, and another of three.
MATRIX = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.2, 0.6, 0.2]], dtype=torch.float64)
Y = torch.tensor([0.3, -0.1], dtype=torch.float64)
MASK = torch.tensor([[1.0, 0], [0, 1.0]], dtype=torch.float64)[None]
LINEAR = (
    "inpaint:box=2-3-5-4",
    "inpaint:random=0.7,seed=3",
    "downsample:factor=4",
    "downsample:factor=2,filter=bicubic",
    "blur:gaussian=1.3",
    "motion:seed=2,size=7",
    "grey",
)


def levels(steps: int) -> Schedule:
    start = fractional.default_start(PROCESS)
    end = fractional.default_end(PROCESS, start, steps)
    return PROCESS.visiting(fractional.karras(PROCESS, end, start, steps))


def by_matrix(x):
    return x.flatten(1) @ MATRIX.T


def by_mask(x):
    return x * MASK


def measurement(sigma=SIGMA, linear=True):
    adjoint = adjoint_of(by_matrix, (1, 2, 2)) if linear else None
    return Measurement(by_matrix, Y.expand(COUNT, -1), sigma, adjoint)


def masked(sigma=0.0):
    y = torch.tensor([0.5, 0, 0, -0.4]).double().reshape(1, 1, 2, 2).expand(COUNT, -1, -1, -1)
    return Measurement(by_mask, y, sigma, by_mask, MASK)


def sampled(spec, prior, measured, sampler="ddim:eta=1"):
    """(N, 4) samples."""
    method = parse(METHODS, spec, "method")

    def noise(level, draw=0):
        return normal((COUNT, 1, 2, 2), 1000 + 997 * level + draw)

    with torch.set_grad_enabled(method.differentiates):
        states = method.sample(
            prior, measured, normal((COUNT, 1, 2, 2), 1), noise, sampler_of(sampler)
        )
        return last(states).flatten(1)


def away(samples, posterior):
    """The error of the mean, and of the covariance, where the posterior has unit covariance."""
    root = torch.linalg.cholesky(posterior.covariance)
    white = torch.linalg.solve_triangular(root, (samples - posterior.mean).T, upper=False)
    error = torch.cov(white) - torch.eye(len(white)).double()
    return float(white.mean(dim=1).norm()), float(error.norm())


def of_mask(data: Mixture, sigma: float):
    """The posterior where two pixels are known."""
    known = MASK.flatten().bool()
    return data.posterior(torch.eye(4).double()[known], torch.tensor([0.5, -0.4]).double(), sigma)


@pytest.mark.parametrize("spec", LINEAR)
def test_a_linear_operator_and_its_adjoint_have_one_inner_product(spec):
    instrument = operator_of(spec).on(SHAPE)
    x, y = torch.randn(2, *SHAPE), torch.randn(2, *instrument.shape)
    assert is_linear(instrument.forward, SHAPE)
    one, other = (instrument.forward(x) * y).sum(), (x * instrument.adjoint(y)).sum()
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("spec", LINEAR[:-1])
def test_an_operator_preserves_a_grey_image_where_its_output_is_not_0(spec):
    """Its weights sum to 1."""
    instrument = operator_of(spec).on(SHAPE)
    y = instrument.forward(torch.full((1, *SHAPE), 0.4))
    known = y[y != 0]
    torch.testing.assert_close(known, torch.full_like(known, 0.4))


def test_phases_do_not_matter_to_magnitudes_and_they_are_not_linear():
    instrument = operator_of("phase").on(SHAPE)
    x = torch.randn(1, *SHAPE)
    torch.testing.assert_close(
        instrument.forward(x), instrument.forward(x.flip(2, 3)), rtol=1e-3, atol=1e-4
    )
    assert instrument.adjoint is None
    assert not is_linear(instrument.forward, SHAPE)


def test_a_function_of_ones_own_is_measured_and_transposed(tmp_path):
    file = tmp_path / "camera.py"
    file.write_text(
        "def halved(x):\n    return x[:, :, ::2] / 2\ndef bright(x):\n    return x**2\n"
    )
    halved, bright = (operator_of(f"{file}:{name}").on(SHAPE) for name in ("halved", "bright"))
    x, y = torch.randn(2, *SHAPE), torch.randn(2, *halved.shape)
    torch.testing.assert_close((halved.forward(x) * y).sum(), (x * halved.adjoint(y)).sum())
    assert bright.adjoint is None
    before = operator_of(f"{file}:bright").manifest()
    file.write_text(file.read_text().replace("x**2", "x**4"))
    assert operator_of(f"{file}:bright").manifest() != before


def test_conjugate_gradients_solve_each_image_by_itself():
    root = normal((6, 6), 0)
    matrix, right = root @ root.T + 0.1 * torch.eye(6), normal((5, 6), 1)
    together = solve(lambda v: v @ matrix, right)
    torch.testing.assert_close(together @ matrix, right, rtol=1e-5, atol=1e-5)
    alone = solve(lambda v: v @ matrix, right[2:3])
    torch.testing.assert_close(alone, together[2:3], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 0.4])
def test_a_correction_is_the_least_change_that_agrees(ridge):
    measured, x_0 = measurement(), normal((COUNT, 1, 2, 2), 5)
    x = measured.correct(x_0, ridge).requires_grad_()
    objective = measured.residual(x).square().sum() + ridge * (x - x_0).square().sum()
    assert rms(torch.autograd.grad(objective, x)[0]) < 1e-5
    if not ridge:
        null = torch.linalg.svd(MATRIX).Vh[2:]
        assert rms((x - x_0).flatten(1) @ null.T) < 1e-5


def test_no_measurement_is_exacter_than_8_bits():
    x = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    error = (to_float(to_uint8(x)).double() - x).square().mean()
    assert measurement(sigma=0.0).variance == pytest.approx(float(error), rel=1e-3)


@pytest.mark.parametrize("level", [1, 5, 20, 40])
def test_a_step_of_ddnm_takes_at_most_half_of_its_noise_from_that_of_a_measurement(level):
    """Along each singular vector: none in the last one, which adds no noise that would hide it."""
    data, schedule = one_gaussian(0.3), levels(40)
    left, _, right = torch.linalg.svd(MATRIX)
    x = normal((2, 1, 2, 2), 0)

    def mean(y):
        clear = Measurement(by_matrix, y, SIGMA, adjoint_of(by_matrix, (1, 2, 2)))
        p = parse(METHODS, "ddnm", "method").denoiser(data.denoise(schedule), clear, schedule)
        return process.posterior(schedule, p(x, level).x_0, x, level).mean.flatten(1)

    noise = SIGMA * left.T  # a standard deviation along each vector
    moved = (mean(Y + noise) - mean(Y.expand(2, -1))) @ right[:2].T
    most = schedule.posterior_variance[level].sqrt() / 2
    assert moved.abs().max() <= most * (1 + 1e-4)
    assert (moved.abs().max() > 0) == (level > 1)
    if level == 1:  # also where a mask leaves residuals of 0
        x, exact = normal((COUNT, 1, 2, 2), 0), data.denoise(schedule)
        last_step = parse(METHODS, "ddnm", "method").denoiser(exact, masked(SIGMA), schedule)
        assert torch.equal(last_step(x, level).x_0, exact(x, level).x_0)


def test_known_pixels_of_repaint_have_the_noise_of_their_level():
    """As much of it is added to a measurement as its own noise is short of."""
    data, schedule = one_gaussian(0.3), levels(40)
    clean, sigma = masked().y, 0.2
    y = clean + sigma * MASK * normal((COUNT, 1, 2, 2), 9)
    prior, measured = Prior(data.denoise(schedule), schedule), replace(masked(sigma), y=y)
    start, noise = normal((COUNT, 1, 2, 2), 1), noise_like(clean)
    known = MASK.bool().expand_as(clean)
    for state in RePaint(times=1).sample(prior, measured, start, noise, sampler_of("ancestral")):
        signal, spread = schedule.signal[state.level], schedule.sigma[state.level]
        if spread > signal * sigma:
            away = (state.x - signal * clean)[known]
            assert rms(away) == pytest.approx(float(spread), rel=0.05), state.level


def test_conjugate_gradients_of_mmps_are_exact_in_as_many_iterations_as_measured_values():
    data, schedule, level = one_gaussian(0.3), levels(40), 20
    x = normal((COUNT, 1, 2, 2), 0).requires_grad_()

    def pull(iterations):
        p = data.denoise(schedule)(x, level)
        method = MMPS(iterations=iterations)
        return method.gradient(measurement(), schedule)(x, level, p).detach()

    p = data.denoise(schedule)(x, level)
    signal = float(schedule.signal[level])
    spread = 0.3 * signal**2 + 1 - signal**2
    within = 0.3 * (1 - signal**2) / spread * MATRIX @ MATRIX.T + SIGMA**2 * torch.eye(2).double()
    residual = measurement().residual(p.x_0.detach())
    exact = 0.3 * signal / spread * residual @ torch.linalg.solve(within, MATRIX)
    torch.testing.assert_close(pull(2).flatten(1), exact)
    assert rms(pull(1).flatten(1) - exact) > 0.01 * rms(exact)


EXACT = (
    ("mmps:iterations=4", "unipc"),
    ("pgdm:variance=0.3", "unipc"),
    ("daps:variance=0.3,ode=1", "ddim"),
)


@pytest.mark.parametrize(("spec", "sampler"), EXACT)
def test_of_normal_data_samples_are_exact(spec, sampler):
    data, schedule = one_gaussian(0.3), levels(40)
    samples = sampled(spec, Prior(data.denoise(schedule), schedule), measurement(), sampler)
    mean, covariance = away(samples, data.posterior(MATRIX, Y, SIGMA))
    assert mean < 0.12
    assert covariance < 0.25


def test_langevin_dynamics_draw_from_the_same_distribution():
    data, schedule = one_gaussian(0.3), levels(20)
    prior = Prior(data.denoise(schedule), schedule)
    spec = "daps:variance=0.3,ode=1,langevin=60"
    samples = sampled(spec, prior, measurement(linear=False), "ddim")
    mean, covariance = away(samples, data.posterior(MATRIX, Y, SIGMA))
    assert mean < 0.15
    assert covariance < 0.3


@pytest.mark.parametrize("spec", ["ddnm", "diffpir", "repaint:jump=5,times=2"])
def test_known_pixels_are_preserved_and_independent_ones_follow_the_model(spec):
    data, schedule = one_gaussian(0.3), levels(40)
    prior = Prior(data.denoise(schedule), schedule)
    samples = sampled(spec, prior, masked(), "ancestral")
    torch.testing.assert_close(by_mask(samples.reshape(-1, 1, 2, 2)), masked().y, atol=0.02, rtol=0)
    unknown = samples[:, 1:3]
    assert rms(unknown.mean(dim=0) - data.means.flatten()[1:3]) < 0.05
    if spec != "diffpir":  # whose noise is not that of the process
        np.testing.assert_allclose(unknown.var(dim=0), 0.3, rtol=0.12)


@pytest.mark.parametrize("spec", ["mmps:iterations=4", "ddnm", "repaint:jump=5,times=2"])
def test_a_class_and_a_measurement_guide_together(spec):
    """The class of one component makes the mixture normal."""
    data, schedule, label = four_modes(), levels(40), torch.zeros(COUNT, dtype=torch.int64)
    first = replace(
        data,
        means=data.means[:1],
        variances=data.variances[:1],
        weights=torch.ones(1).double(),
        labels=torch.zeros(1, dtype=torch.int64),
    )
    # A classifier's gradient, or a conditional network where the Jacobian has to know the class.
    noise = 0.1 if spec.startswith("mmps") else 0.0
    if noise:
        prior = Prior(data.denoise(schedule, label), schedule)
    else:
        gradient = scaled(data.gradient(schedule, label), 1.0)
        prior = Prior(data.denoise(schedule), schedule, gradient)
    samples = sampled(spec, prior, masked(noise))
    mean, _ = away(samples, of_mask(first, noise or 0.002))
    free = sampled(spec, Prior(data.denoise(schedule), schedule), masked(0.1))
    assert mean < 0.15
    assert away(free, of_mask(first, 0.1))[0] > 2 * mean


def test_repaint_samples_every_level_as_often_as_it_says():
    visits = RePaint(jump=3, times=2).visits(10)
    assert visits[0] == 10
    assert visits[-1] == 0
    steps = np.diff(visits)
    assert {*steps.tolist()} == {-1, 1}
    down = [start for start, to in pairwise(visits) if to < start]
    counts = [down.count(level) for level in range(1, 11)]
    assert counts == [1, 2, 2, 2, 2, 2, 2, 1, 1, 1]
    assert RePaint(times=1).visits(10) == [*range(10, -1, -1)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("inpaint", "operator=inpaint takes one of mask, box and random"),
        ("inpaint:box=2-3-50-4", "operator.box must be within 16x12"),
        ("downsample:factor=5", "operator.factor must be a divisor of 16x12, got 5"),
        ("blur:gaussian=0", "operator.gaussian must be greater than 0"),
        ("motion:size=25", "operator.kernel must be smaller than images of 16x12"),
        ("motion:size=8", "operator.size must be odd"),
        ("sharpen", "operator must be one of inpaint, downsample"),
    ],
)
def test_operators_that_images_cannot_have_are_refused(spec, message):
    with pytest.raises(SettingError, match=message):
        operator_of(spec).on(SHAPE)


def test_dps_is_algorithm_1_of_its_paper() -> None:
    """x_(t-1) of ancestral sampling, and then step times the gradient of the norm off it."""
    mixture, schedule, step = four_modes(), by_angle(12, first=0.1), 0.3
    denoise = mixture.denoise(schedule)
    measurement = Measurement(lambda x: F.avg_pool2d(x, 2) ** 2, normal((3, 1, 1, 1), 3))
    x = normal((3, 1, 2, 2), seed=4)
    noise = noise_like(x)
    states = DPS(step=step).sample(
        Prior(denoise, schedule), measurement, x, noise, sampler_of("ancestral")
    )
    for state, t in zip(states, range(schedule.last, 0, -1), strict=True):
        x = x.requires_grad_()
        p = denoise(x, t)
        drawn = p.variance.value.sqrt() * noise(t) if t > 1 else 0.0
        following = process.posterior(schedule, p.x_0, x, t).mean + drawn
        distance = (measurement.y - measurement.forward(p.x_0)).flatten(1).norm(dim=1)
        slope = torch.autograd.grad(distance.sum(), x)[0]
        x = (following - step * slope).detach()
        torch.testing.assert_close(state.x, x, rtol=1e-9, atol=1e-9)
