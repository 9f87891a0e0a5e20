"""Denoise, Gradient -> Denoise; Denoise, weaker ones, scales -> Denoise."""

from typing import NamedTuple

from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule, Threshold
from adm.diffusion.schedule import at
from adm.guidance.combine import every, inside
from adm.guidance.gradients import Gradient, evaluate


def shifted(
    prediction: Prediction, gradient: Tensor, schedule: Schedule, x_t: Tensor, level: Level
) -> Prediction:
    """Shift a prediction by a gradient (paper, Algorithm 2).

    noise - sqrt(1 - alpha_bar) gradient replaces the noise, and x_0 is derived from it.
    """
    noise = prediction.noise - at(schedule.sigma, level, x_t) * gradient
    return Prediction.from_noise(schedule, x_t, level, noise, prediction.variance)


def folded(denoise: Denoise, gradient: Gradient, schedule: Schedule) -> Denoise:
    """Guide a denoiser by a gradient (paper, Algorithm 2), for any sampler.

    The network is evaluated once, even if the gradient differentiates it (see
    `gradients.evaluate`).
    """

    def guided(x_t: Tensor, level: Level) -> Prediction:
        prediction, pull = evaluate(denoise, gradient, x_t, level)
        return shifted(prediction, pull, schedule, x_t, level)

    return guided


class Contrast(NamedTuple):
    """A weaker denoiser, and the weight of its contrast.

    Reuse holds the difference of the two noises, and that of x_0 follows from it. Along the path of
    an ODE solver this difference, the derivative of x / signal with respect to sigma / signal,
    changes least: on the exact denoisers of a Gaussian mixture it is closer to full guidance than
    the difference of x_0, and several times closer than the last weak prediction, from which the
    images have moved on.

    Attributes:
        weak: the weaker denoiser.
        factor: of the difference, strong - weak, which is added; 0 changes nothing.
        interval: lowest and highest level at which it is added; None for all levels.
        every: the weaker denoiser is evaluated at every `every`-th visited level of the interval,
            and the difference reused in between.
        schedule: that of both denoisers; only for reuse.
    """

    weak: Denoise
    factor: float
    interval: tuple[int, int] | None = None
    every: int = 1
    schedule: Schedule | None = None

    def at(self, level: Level, x_t: Tensor) -> float | Tensor:
        """Return the factor at a level: a number, or (B, 1, 1, 1) if images differ in theirs."""
        within = self.interval is None or inside(*self.interval, level, x_t)
        return self.factor * (within.to(x_t.dtype) if isinstance(within, Tensor) else within)

    def difference(
        self, x_t: Tensor, level: Level, strong: Prediction
    ) -> tuple[Level, Tensor, Tensor]:
        """Return the level, and strong - weak of x_0 and of the noise."""
        weak = self.weak(x_t, level)
        return level, strong.x_0 - weak.x_0, strong.noise - weak.noise


def contrasted(strong: Denoise, *contrasts: Contrast) -> Denoise:
    """Extrapolate from weak denoisers beyond a strong one: strong + sum of factor (strong - weak).

    With a conditional and an unconditional model this is classifier-free guidance (Ho and Salimans
    2022), with a better and a worse model it is autoguidance (Karras et al. 2024), and with two
    conditions the weak one is a negative prompt. x_0 and noise are extrapolated alike; the variance
    is that of the strong denoiser. That is evaluated once, and a weak one only where its factor is
    not 0, and `Contrast.every` says so: then the returned denoiser stores the latest difference, so
    create one for each trajectory. Where the only factor is -1 the weak denoiser alone is
    evaluated, as a small model may be at the noisiest levels (Pan et al. 2025, T-Stitch).
    """
    differences = [(each, every(each.difference, each.every)) for each in contrasts]

    def guided(x_t: Tensor, level: Level) -> Prediction:
        active = [
            (each, difference, factor)
            for each, difference in differences
            if isinstance(factor := each.at(level, x_t), Tensor) or factor
        ]
        if not isinstance(level, Tensor) and [factor for *_, factor in active] == [-1]:
            ((alone, *_),) = active
            return alone.weak(x_t, level)
        one = strong(x_t, level)
        x_0, noise = one.x_0, one.noise
        for each, difference, factor in active:
            evaluated, of_x_0, of_noise = difference(x_t, level, one)
            if evaluated is not level:  # reused
                assert each.schedule is not None
                of_noise = of_noise.detach()
                of_x_0 = -at(each.schedule.noise_to_signal, level, x_t) * of_noise
            x_0 = x_0 + factor * of_x_0
            noise = noise + factor * of_noise
        return Prediction(x_0, noise, one.variance)

    return guided


def thresholded(denoise: Denoise, threshold: Threshold, schedule: Schedule) -> Denoise:
    """Apply a threshold such as `clip` to the x_0 of a denoiser, and derive the noise from it.

    After guidance this changes the ODE that DDIM solves, and prevents saturation at large scales.
    """

    def limited(x_t: Tensor, level: Level) -> Prediction:
        prediction = denoise(x_t, level)
        x_0 = threshold(prediction.x_0)
        return Prediction.from_x_0(schedule, x_t, level, x_0, prediction.variance)

    return limited
