"""raw output, x_t, level -> Prediction(x_0, noise, variance).

A network may be trained to predict any of four things (`Target`), and its variance may be fixed or
learned (`VarianceRule`). Both are values, composed where the model is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.schedule import Level, Schedule, at


class Variance(NamedTuple):
    """The variance of p(x_(t-1) | x_t) and its logarithm; both broadcast to (B, C, H, W)."""

    value: Tensor
    log: Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts about x_t: one estimate, in two forms.

    x_0 and noise always satisfy x_t = signal x_0 + sigma noise, so a sampler may read either. Make
    a prediction from one of the two with `from_x_0` or `from_noise`, which derive the other. The
    mean of p(x_s | x_t) is not a part of it: each sampler derives it from x_0 (see
    `process.bridge`).

    Attributes:
        x_0: (B, C, H, W) the estimate of the clean image.
        noise: (B, C, H, W) the noise that this estimate implies.
        variance: of p(x_(t-1) | x_t), for samplers that draw from it.
    """

    x_0: Tensor
    noise: Tensor
    variance: Variance

    @classmethod
    def from_x_0(
        cls, schedule: Schedule, x_t: Tensor, level: Level, x_0: Tensor, variance: Variance
    ) -> "Prediction":
        """The prediction with this estimate of the clean image."""
        return cls(x_0, process.noise_from_x_0(schedule, x_t, x_0, level), variance)

    @classmethod
    def from_noise(
        cls, schedule: Schedule, x_t: Tensor, level: Level, noise: Tensor, variance: Variance
    ) -> "Prediction":
        """The prediction with this estimate of the noise."""
        return cls(process.x_0_from_noise(schedule, x_t, noise, level), noise, variance)

    def detached(self) -> "Prediction":
        """The same values without their computation graph."""
        value, log = self.variance
        variance = Variance(value.detach(), log.detach())
        return Prediction(self.x_0.detach(), self.noise.detach(), variance)


Denoise: TypeAlias = Callable[[Tensor, Level], Prediction]  # x_t, level -> Prediction
Threshold: TypeAlias = Callable[[Tensor], Tensor]  # x_0 -> x_0


@dataclass(frozen=True)
class Target:
    """What the network is trained to predict.

    Attributes:
        of: (schedule, x_0, noise, x_t, level) -> the value to regress on.
        to_x_0: (schedule, x_t, output, level) -> x_0.
        is_mean: whether the output is the mean of p(x_(t-1) | x_t) itself (see `mean_threshold`).
    """

    of: Callable[[Schedule, Tensor, Tensor, Tensor, Level], Tensor]
    to_x_0: Callable[[Schedule, Tensor, Tensor, Level], Tensor]
    is_mean: bool = False


NOISE = Target(
    of=lambda schedule, x_0, noise, x_t, level: noise,
    to_x_0=process.x_0_from_noise,
)
X_0 = Target(
    of=lambda schedule, x_0, noise, x_t, level: x_0,
    to_x_0=lambda schedule, x_t, output, level: output,
)
VELOCITY = Target(
    of=lambda schedule, x_0, noise, x_t, level: process.velocity(schedule, x_0, noise, level),
    to_x_0=process.x_0_from_velocity,
)
PREVIOUS_MEAN = Target(
    of=lambda schedule, x_0, noise, x_t, level: process.posterior(schedule, x_0, x_t, level).mean,
    to_x_0=process.x_0_from_previous,
    is_mean=True,
)


@dataclass(frozen=True)
class VarianceRule:
    """Where the variance of p(x_(t-1) | x_t) comes from.

    Attributes:
        of: (schedule, variance output, level) -> Variance; x_t stands in for the output where the
            variance is not learned.
        learned: whether the network outputs a second set of channels for it.
    """

    of: Callable[[Schedule, Tensor, Level], Variance]
    learned: bool = False


def _fixed_small(schedule: Schedule, like: Tensor, level: Level) -> Variance:
    return Variance(
        at(schedule.posterior_variance, level, like),
        at(schedule.posterior_log_variance, level, like),
    )


def _fixed_large(schedule: Schedule, like: Tensor, level: Level) -> Variance:
    # At level 1 beta would make the decoder's likelihood poor; DDPM takes the posterior of level 2.
    variance = torch.cat([schedule.posterior_variance[[2, 2]], schedule.beta[2:]])
    return Variance(at(variance, level, like), at(variance.log(), level, like))


def _learned(schedule: Schedule, output: Tensor, level: Level) -> Variance:
    return Variance(output.exp(), output)


def _learned_range(schedule: Schedule, output: Tensor, level: Level) -> Variance:
    # Improved DDPM, equation 15: interpolating logs keeps the variance between its two bounds.
    low = at(schedule.posterior_log_variance, level, output)
    high = at(schedule.beta.log(), level, output)
    fraction = (output + 1) / 2
    log = fraction * high + (1 - fraction) * low
    return Variance(log.exp(), log)


FIXED_SMALL = VarianceRule(_fixed_small)
FIXED_LARGE = VarianceRule(_fixed_large)
LEARNED = VarianceRule(_learned, learned=True)
LEARNED_RANGE = VarianceRule(_learned_range, learned=True)


@dataclass(frozen=True)
class Parameterization:
    """How raw output is interpreted: what it predicts, and where the variance comes from."""

    target: Target
    variance: VarianceRule

    def split(self, raw: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
        """Split raw output into the predicted value and, where learned, the variance's output.

        Raises:
            ValueError: the output has another number of channels than this parameterization needs.
        """
        wanted = channels * (2 if self.variance.learned else 1)
        if raw.shape[1] != wanted:
            raise ValueError(
                f"an image of {channels} channels needs an output of {wanted}, got {raw.shape[1]}; "
                "set out_channels, or choose another variance"
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
            x_t: (B, C, H, W) its input.
            threshold: applied to the estimate of x_0 before the noise is derived from it, such as
                `clip`; not used in training.
        """
        output, extra = self.split(raw, x_t.shape[1])
        variance = self.variance.of(schedule, x_t if extra is None else extra, level)
        x_0 = self.target.to_x_0(schedule, x_t, output, level)
        x_0 = x_0 if threshold is None else threshold(x_0)
        return Prediction.from_x_0(schedule, x_t, level, x_0, variance)

    def mean_threshold(self, threshold: Threshold | None) -> Threshold | None:
        """The threshold to use where p(x_(t-1) | x_t) is drawn from or evaluated.

        The released system clips the x_0 of a network that predicts the previous mean, but never
        that mean itself. Without a threshold, the mean that follows from x_0 is the raw output.
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
    """Turn a network, (x_t, timestep) -> raw output, into a denoiser, (x_t, level) -> Prediction.

    Gradients flow through it; call it under `torch.no_grad()` where none are needed.
    """

    def denoise(x_t: Tensor, level: Level) -> Prediction:
        raw = output(x_t, schedule.timestep(level, x_t))
        return parameterization.predict(schedule, raw, x_t, level, threshold)

    return denoise
