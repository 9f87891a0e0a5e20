"""raw network output -> Prediction(x_0, noise, mean, variance).

A network may be trained to predict any of four things (`Target`), and its variance may be fixed or
learned (`VarianceRule`). Both are values, composed by whoever builds the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.schedule import Level, Schedule, at


class Prediction(NamedTuple):
    """What a model says about x_t.

    Attributes:
        x_0: (B, C, H, W) its estimate of the clean image.
        noise: (B, C, H, W) the noise that this estimate leaves.
        mean: (B, C, H, W) the mean of p(x_(t-1) | x_t).
        variance, log_variance: of the same; broadcast to the image.
    """

    x_0: Tensor
    noise: Tensor
    mean: Tensor
    variance: Tensor
    log_variance: Tensor


Denoise: TypeAlias = Callable[[Tensor, Level], Prediction]
Restrain: TypeAlias = Callable[[Tensor], Tensor]  # x_0 -> x_0


@dataclass(frozen=True)
class Target:
    """What the network is trained to predict.

    Attributes:
        of: (schedule, x_0, noise, x_t, level) -> the value to regress on.
        to_x_0: (schedule, x_t, output, level) -> x_0.
        states_mean: the output is itself the mean of p(x_(t-1) | x_t).
    """

    of: Callable[[Schedule, Tensor, Tensor, Tensor, Level], Tensor]
    to_x_0: Callable[[Schedule, Tensor, Tensor, Level], Tensor]
    states_mean: bool = False


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
    states_mean=True,
)


class Variance(NamedTuple):
    value: Tensor
    log: Tensor


@dataclass(frozen=True)
class VarianceRule:
    """Where the variance of p(x_(t-1) | x_t) comes from.

    Attributes:
        of: (schedule, extra output, level) -> Variance. The extra output is x_t when not learned.
        learned: the network gives a second set of channels for it.
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
    """How raw output is read: what it predicts, and where the variance comes from."""

    target: Target
    variance: VarianceRule

    def split(self, raw: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
        """Raw output -> the prediction, and the variance's output where it is learned.

        Raises:
            ValueError: the output's channels are not what this parameterization needs.
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
        restrain: Restrain | None = None,
    ) -> Prediction:
        """Read raw output.

        Args:
            raw: (B, C or 2C, H, W).
            x_t: (B, C, H, W), what the network saw.
            restrain: applied to the estimate of x_0 before anything follows from it, such as
                `clip`; never used in training.

        Returns:
            Prediction. Its noise follows from x_0, restrained or not, as in the released system.
        """
        output, extra = self.split(raw, x_t.shape[1])
        variance = self.variance.of(schedule, x_t if extra is None else extra, level)
        x_0 = self.target.to_x_0(schedule, x_t, output, level)
        x_0 = x_0 if restrain is None else restrain(x_0)
        mean = (
            output if self.target.states_mean else process.posterior(schedule, x_0, x_t, level).mean
        )
        noise = process.noise_from_x_0(schedule, x_t, x_0, level)
        return Prediction(x_0, noise, mean, variance.value, variance.log)


def clip(x_0: Tensor) -> Tensor:
    """Keep an estimate of x_0 within the range of images."""
    return x_0.clamp(-1, 1)


def denoiser(
    output: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    parameterization: Parameterization,
    restrain: Restrain | None = clip,
) -> Denoise:
    """Anything that maps (x_t, step) to raw output -> denoise(x_t, level).

    Gradients flow through it; open `torch.no_grad()` around it where none are wanted.
    """

    def denoise(x_t: Tensor, level: Level) -> Prediction:
        raw = output(x_t, schedule.step(level, x_t))
        return parameterization.predict(schedule, raw, x_t, level, restrain)

    return denoise
