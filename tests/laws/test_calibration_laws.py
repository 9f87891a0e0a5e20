"""An ideal denoiser is calibrated at every level, and each defect shows where it is."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from oracle import Mixture
from torch import Tensor

from adm.app.study.doctor import age_of, estimate, labels
from adm.app.study.patient import Calibration, calibrate
from adm.diffusion import Denoise, Level, Prediction, Schedule, Variance, cosine, linear

COUNT, LEVELS = 400, [2, 10, 30, 60, 85]
SCHEDULE = cosine(100)
PARTS = [slice(0, 150), slice(150, COUNT)]


def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(1)
    means = 0.5 * torch.randn(6, 1, 4, 4, dtype=torch.float64, generator=generator)
    # Narrow, so that hardly any pixel is outside of [-1, 1], where estimates are clipped.
    return Mixture(
        means.clamp(-0.8, 0.8),
        torch.full((6,), 0.01, dtype=torch.float64),
        torch.full((6,), 1 / 6, dtype=torch.float64),
        torch.arange(6) % 2,
    )


def measured(
    spoil: Callable[[Denoise], Denoise] = lambda denoise: denoise, assumed: Schedule = SCHEDULE
) -> Calibration:
    """Calibrate the ideal denoiser of a mixture for the process `assumed`, spoiled."""
    data, generator = mixture(), torch.Generator().manual_seed(0)
    x_0, _ = data.sample(COUNT, generator)
    noise = torch.randn(x_0.shape, dtype=torch.float64, generator=generator)
    denoise = spoil(data.denoise(assumed))
    return calibrate(lambda part: denoise, SCHEDULE, x_0, noise, LEVELS, PARTS)


class Stub:
    """A patient with few measurements."""

    guessing = 80

    def __init__(
        self, calibration: Calibration | None = None, by_label: Tensor | None = None
    ) -> None:
        self.calibration, self.by_label = calibration, by_label


def scaled(by: float) -> Callable[[Denoise], Denoise]:
    def spoil(denoise: Denoise) -> Denoise:
        def scaled_denoise(x_t: Tensor, level: Level) -> Prediction:
            p = denoise(x_t, level)
            return Prediction.from_x_0(SCHEDULE, x_t, level, by * p.x_0, p.variance)

        return scaled_denoise

    return spoil


def of_variance(by: float) -> Callable[[Denoise], Denoise]:
    def spoil(denoise: Denoise) -> Denoise:
        def other(x_t: Tensor, level: Level) -> Prediction:
            p = denoise(x_t, level)
            return replace(p, variance=Variance(by * p.variance.value, p.variance.log))

        return other

    return spoil


def test_an_ideal_denoiser_is_calibrated_at_every_level() -> None:
    calibration = measured()
    assert calibration.levels.tolist() == LEVELS
    assert ((calibration.slope - 1).abs() < 4 * calibration.slope_spread + 1e-3).all()
    assert ((calibration.energy - 1).abs() < 4 * calibration.energy_spread + 1e-3).all()
    assert ((calibration.variance - 1).abs() < 0.05).all()
    assert (calibration.error < calibration.linear).all()
    assert (calibration.error.diff() > 0).all()
    assert estimate(Stub(calibration)).verdict == "ok"  # type: ignore[arg-type]


def test_the_parts_do_not_matter_and_errors_are_of_chance() -> None:
    data, generator = mixture(), torch.Generator().manual_seed(0)
    slopes, stated = [], []
    for _ in range(30):
        x_0, _ = data.sample(40, generator)
        noise = torch.randn(x_0.shape, dtype=torch.float64, generator=generator)
        in_parts, whole = (
            calibrate(lambda _: data.denoise(SCHEDULE), SCHEDULE, x_0, noise, [60], parts)
            for parts in ([slice(0, 15), slice(15, 40)], [slice(0, 40)])
        )
        for one, other in zip(in_parts, whole, strict=True):
            torch.testing.assert_close(one, other)
        slopes.append(float(in_parts.slope))
        stated.append(float(in_parts.slope_spread))
    assert torch.tensor(slopes).std() == pytest.approx(sum(stated) / 30, rel=0.4)


@pytest.mark.parametrize("by", [1.2, 0.8, 0.5])
def test_the_slope_is_the_inverse_of_the_scale_of_the_estimate(by: float) -> None:
    calibration = measured(scaled(by))
    noisy = calibration.slope[-2:]  # where the clip leaves small estimates alone
    if by < 1:
        torch.testing.assert_close(noisy, torch.full_like(noisy, 1 / by), rtol=0.1, atol=0)
    assert estimate(Stub(calibration)).verdict == "wrong"  # type: ignore[arg-type]


def test_another_schedule_than_that_of_the_training_is_wrong() -> None:
    assert estimate(Stub(measured(assumed=linear(100)))).verdict == "wrong"  # type: ignore[arg-type]


def test_the_ratio_of_the_variances_is_that_by_which_it_was_spoiled() -> None:
    right, half = measured(), measured(of_variance(0.5))
    torch.testing.assert_close(half.variance, 2 * right.variance)


@pytest.mark.parametrize(
    ("error", "verdict"), [(0.5, "ok"), (1.0, "look"), (1.5, "wrong"), (1.001, "look")]
)
def test_labels_without_effect_are_distinguished_from_other_labels(
    error: float, verdict: str
) -> None:
    errors = torch.ones(40, 4).double()
    errors[:, 0] = error
    assert labels(Stub(by_label=errors)).verdict == verdict  # type: ignore[arg-type]


def test_the_age_of_an_average_is_that_of_its_weights() -> None:
    """By the weights themselves: of step s, (1 - decay) of that step, times all later decays."""
    steps, decay = 50, 0.9
    weights = [0.0] * steps
    first = 1.0  # of the initial weights
    for step in range(steps):
        step_decay = min(decay, (1 + step) / (10 + step))
        weights = [step_decay * each for each in weights]
        weights[step] = 1 - step_decay
        first *= step_decay
    age = sum(w * (steps - 1 - s) for s, w in enumerate(weights)) + first * steps
    assert age_of(decay, steps) * steps == pytest.approx(age)
