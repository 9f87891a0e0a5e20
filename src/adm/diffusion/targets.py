"""x_0, noise, x_t, level -> what a network predicts; an output -> x_0; x_t -> its input."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from adm.diffusion import process
from adm.diffusion.schedule import Level, Schedule, at
from adm.spec import Checked


class Target(Checked):
    """What a network is trained to predict, and how it sees x_t.

    Attributes:
        is_mean: whether the output is the mean of p(x_(t-1) | x_t) itself (see `mean_threshold` of
            `Parameterization`).
    """

    is_mean: ClassVar[bool] = False

    @abstractmethod
    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        """Return the regression target, (B, C, H, W)."""

    @abstractmethod
    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        """Return the x_0 that an output stands for; it inverts `of`."""

    def input(self, schedule: Schedule, x_t: Tensor, level: Level) -> Tensor:
        """Return x_t as the network sees it."""
        return x_t


@dataclass(frozen=True)
class AddedNoise(Target):
    """The noise (DDPM, equation 14)."""

    name: ClassVar[str] = "noise"

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        return noise

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return process.x_0_from_noise(schedule, x_t, output, level)


@dataclass(frozen=True)
class CleanImage(Target):
    """The clean image, x_0."""

    name: ClassVar[str] = "x_0"

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        return x_0

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return output


@dataclass(frozen=True)
class Velocity(Target):
    """The velocity, signal noise - sigma x_0 (Salimans and Ho 2022, section 4)."""

    name: ClassVar[str] = "velocity"

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        return process.velocity(schedule, x_0, noise, level)

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return process.x_0_from_velocity(schedule, x_t, output, level)


@dataclass(frozen=True)
class PreviousMean(Target):
    """The mean of p(x_(t-1) | x_t) (DDPM, equation 7)."""

    name: ClassVar[str] = "previous_mean"
    is_mean: ClassVar[bool] = True

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        return process.posterior(schedule, x_0, x_t, level).mean

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return process.x_0_from_previous(schedule, x_t, output, level)


@dataclass(frozen=True)
class EDM(Target):
    """The output of EDM's preconditioned network (Karras et al. 2022, table 1).

    In the variance-preserving process, with s^2 = sigma^2 + signal^2 sigma_data^2 the variance of
    x_t, it is (sigma x_0 - signal sigma_data^2 noise) / (sigma_data s), of unit variance as is the
    input x_t / s. With sigma_data 1 it is minus the velocity. The network receives the level as
    a timestep, as for any other target, and not as ln(sigma / signal) / 4.

    Attributes:
        sigma_data: standard deviation of the pixels of training images in [-1, 1], about their
            mean; left out, it is measured when a run begins.
    """

    sigma_data: Annotated[float, Field(gt=0, le=100)] | None = None
    name: ClassVar[str] = "edm"

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        of_x_0 = schedule.sigma / (self._data * self._deviation(schedule))
        of_noise = schedule.signal * self._data / self._deviation(schedule)
        return at(of_x_0, level, x_0) * x_0 - at(of_noise, level, x_0) * noise

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        skip = schedule.signal * self._data**2 / self._deviation(schedule) ** 2
        return at(skip, level, x_t) * x_t + at(self.gain(schedule), level, x_t) * output

    def gain(self, schedule: Schedule) -> Tensor:
        """Return the error of x_0 for an error of the output, (T + 1,) float64."""
        return schedule.sigma * self._data / self._deviation(schedule)

    def input(self, schedule: Schedule, x_t: Tensor, level: Level) -> Tensor:
        return at(1 / self._deviation(schedule), level, x_t) * x_t

    @property
    def _data(self) -> float:
        assert self.sigma_data is not None, "a run measures it, and stores it in its recipe"
        return self.sigma_data

    def _deviation(self, schedule: Schedule) -> Tensor:
        """Return s, the standard deviation of x_t at each level, (T + 1,) float64."""
        return (1 - schedule.alpha_bar + schedule.alpha_bar * self._data**2).sqrt()


@dataclass(frozen=True)
class ConsistencyTarget(EDM):
    """The output of a consistency model (Song et al. 2023, appendix C).

    EDM's preconditioning, shifted so that the image at the lowest level is x_t itself: with
    ratio = sigma / signal, x_0 is skip x_t / signal + gain output, where skip is sigma_data^2 /
    ((ratio - least)^2 + sigma_data^2) and gain is sigma_data (ratio - least) / sqrt(ratio^2 +
    sigma_data^2).

    Attributes:
        least: ratio of the lowest level.
    """

    least: Annotated[float, Field(gt=0, le=1)] = 0.002
    name: ClassVar[str] = "consistency"

    def of(
        self, schedule: Schedule, x_0: Tensor, noise: Tensor, x_t: Tensor, level: Level
    ) -> Tensor:
        rest = x_0 - at(self._skip(schedule), level, x_t) * x_t
        return rest / at(self.gain(schedule), level, x_t)

    def to_x_0(self, schedule: Schedule, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        skip = at(self._skip(schedule), level, x_t)
        return skip * x_t + at(self.gain(schedule), level, x_t) * output

    def gain(self, schedule: Schedule) -> Tensor:
        above = schedule.noise_to_signal - self.least
        return self._data * above * schedule.signal / self._deviation(schedule)

    def _skip(self, schedule: Schedule) -> Tensor:
        above = schedule.noise_to_signal - self.least
        return self._data**2 / (above**2 + self._data**2) * schedule.per_signal


NOISE, X_0, VELOCITY, PREVIOUS_MEAN = AddedNoise(), CleanImage(), Velocity(), PreviousMean()
TARGETS: dict[str, type[Target]] = {
    kind.name: kind
    for kind in (AddedNoise, CleanImage, Velocity, PreviousMean, EDM, ConsistencyTarget)
}
