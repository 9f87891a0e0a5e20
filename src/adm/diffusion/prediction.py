"""x_t, level -> Inputs of a network; raw output, x_t, level -> Prediction(x_0, noise, variance).

A network predicts one of the targets (`Target`), and its variance is fixed or learned
(`VarianceRule`); a `Parameterization` combines the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.schedule import Level, Schedule, at
from adm.diffusion.targets import Target


class Variance(NamedTuple):
    """The variance of p(x_(t-1) | x_t) and its logarithm; both broadcast to (B, C, H, W)."""

    value: Tensor
    log: Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a model at x_t: one estimate in two forms.

    x_0 and noise satisfy x_t = signal x_0 + sigma noise, so that a sampler can use either.
    `from_x_0` and `from_noise` build a prediction from one and derive the other. The mean of
    p(x_s | x_t) is not included: each sampler derives it from x_0 (see `process.posterior`).

    Attributes:
        x_0: (B, C, H, W) the estimate of the clean image.
        noise: (B, C, H, W) the noise that this estimate implies.
        variance: variance of p(x_(t-1) | x_t), for stochastic samplers.
    """

    x_0: Tensor
    noise: Tensor
    variance: Variance

    @classmethod
    def from_x_0(
        cls, schedule: Schedule, x_t: Tensor, level: Level, x_0: Tensor, variance: Variance
    ) -> "Prediction":
        """Return the prediction with this estimate of the clean image."""
        return cls(x_0, process.noise_from_x_0(schedule, x_t, x_0, level), variance)

    @classmethod
    def from_noise(
        cls, schedule: Schedule, x_t: Tensor, level: Level, noise: Tensor, variance: Variance
    ) -> "Prediction":
        """Return the prediction with this estimate of the noise."""
        return cls(process.x_0_from_noise(schedule, x_t, noise, level), noise, variance)

    def detached(self) -> "Prediction":
        """Return the same values, detached from the graph."""
        value, log = self.variance
        variance = Variance(value.detach(), log.detach())
        return Prediction(self.x_0.detach(), self.noise.detach(), variance)


Denoise: TypeAlias = Callable[[Tensor, Level], Prediction]  # x_t, level -> Prediction
Threshold: TypeAlias = Callable[[Tensor], Tensor]  # x_0 -> x_0


@dataclass(frozen=True)
class VarianceRule:
    """Where the variance of p(x_(t-1) | x_t) comes from.

    Attributes:
        of: (schedule, variance output, level) -> Variance; for a fixed variance, x_t is passed in
            place of the output.
        learned: whether the network has C additional output channels for the variance.
    """

    of: Callable[[Schedule, Tensor, Level], Variance]
    learned: bool = False


def _fixed_small(schedule: Schedule, like: Tensor, level: Level) -> Variance:
    return Variance(
        at(schedule.posterior_variance, level, like),
        at(schedule.posterior_log_variance, level, like),
    )


def _fixed_large(schedule: Schedule, like: Tensor, level: Level) -> Variance:
    # At level 1 beta gives a poor decoder likelihood; DDPM uses the posterior variance of level 2.
    variance = torch.cat([schedule.least_variance.repeat(2), schedule.beta[2:]])
    return Variance(at(variance, level, like), at(variance.log(), level, like))


def _learned(schedule: Schedule, output: Tensor, level: Level) -> Variance:
    return Variance(output.exp(), output)


def _learned_range(schedule: Schedule, output: Tensor, level: Level) -> Variance:
    # Improved DDPM, equation 15: interpolate the logs of the two bounds of the variance.
    low = at(schedule.posterior_log_variance, level, output)
    high = at(schedule.beta.log(), level, output)
    fraction = (output + 1) / 2
    log = fraction * high + (1 - fraction) * low
    return Variance(log.exp(), log)


FIXED_SMALL = VarianceRule(_fixed_small)
FIXED_LARGE = VarianceRule(_fixed_large)
LEARNED = VarianceRule(_learned, learned=True)
LEARNED_RANGE = VarianceRule(_learned_range, learned=True)


class Inputs(NamedTuple):
    """The first two inputs of a network at (x_t, level)."""

    x_t: Tensor  # (B, C, H, W) as the network sees it
    timestep: Tensor  # (B,) float32


@dataclass(frozen=True)
class Parameterization:
    """The inputs of a network, and the meaning of its raw output: a target and a variance."""

    target: Target
    variance: VarianceRule

    def inputs(self, schedule: Schedule, x_t: Tensor, level: Level) -> Inputs:
        """Return the inputs of a network at (x_t, level), for every call of one."""
        return Inputs(self.target.input(schedule, x_t, level), schedule.timestep(level, x_t))

    def split(self, raw: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
        """Split raw output into the predicted value and the variance output, None if it is fixed.

        Raises:
            ValueError: the output has the wrong number of channels.
        """
        expected = channels * (2 if self.variance.learned else 1)
        if raw.shape[1] != expected:
            raise ValueError(
                f"an image of {channels} channels needs an output of {expected}, got "
                f"{raw.shape[1]}; set out_channels, or choose another variance"
            )
        return (raw[:, :channels], raw[:, channels:]) if self.variance.learned else (raw, None)

    def predict(
        self,
        schedule: Schedule,
        raw: Tensor,
        x_t: Tensor,
        level: Level,
        threshold: Threshold | None = None,
    ) -> Prediction:
        """Interpret raw output.

        Args:
            raw: (B, C or 2C, H, W) output of the network.
            x_t: (B, C, H, W) noisy images, as passed to `inputs`.
            threshold: function such as `clip`, applied to the estimate of x_0 before the noise is
                derived from it; not used in training.
        """
        output, extra = self.split(raw, x_t.shape[1])
        variance = self.variance.of(schedule, x_t if extra is None else extra, level)
        x_0 = self.target.to_x_0(schedule, x_t, output, level)
        x_0 = x_0 if threshold is None else threshold(x_0)
        return Prediction.from_x_0(schedule, x_t, level, x_0, variance)

    def mean_threshold(self, threshold: Threshold | None) -> Threshold | None:
        """Return the threshold for sampling from, or evaluating, p(x_(t-1) | x_t).

        The released system does not clip the output of a network that predicts the mean. Without a
        threshold, the mean derived from x_0 is that output.
        """
        return None if self.target.is_mean else threshold


def clip(x_0: Tensor) -> Tensor:
    """Clip an estimate of x_0 to [-1, 1], the range of images."""
    return x_0.clamp(-1, 1)


def denoiser(
    output: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    parameterization: Parameterization,
    threshold: Threshold | None = clip,
) -> Denoise:
    """Turn a network, `Inputs` -> raw output, into a denoiser, (x_t, level) -> Prediction.

    It is differentiable; call it under `torch.no_grad()` if no gradients are needed.
    """

    def denoise(x_t: Tensor, level: Level) -> Prediction:
        raw = output(*parameterization.inputs(schedule, x_t, level))
        return parameterization.predict(schedule, raw, x_t, level, threshold)

    return denoise
