"""Denoise, x_T, Schedule, Noise, Gradient -> Iterator[State]: the base of all samplers."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, clip
from adm.guidance import Gradient
from adm.samplers.interval import Interval, check_within, visited_within
from adm.samplers.state import Noise, State
from adm.spec import Checked


@dataclass(frozen=True, kw_only=True)
class Sampler(Checked):
    """A sampler with its parameters.

    Attributes:
        draws: whether it samples from p(x_(t-1) | x_t) with the variance of the model, rather than
            solves an ODE or SDE of the denoiser.
        random: whether its steps add noise, so that its images do not converge to those of the ODE
            in many steps.
    """

    draws: ClassVar[bool] = False

    @property
    def random(self) -> bool:
        return False

    @property
    def noiseless(self) -> "Sampler | None":
        """The same sampler without the noise of its steps; None if there is none."""
        return None if self.random else self

    def evaluations(self, steps: int) -> int:
        """Return the network evaluations per image in a number of steps.

        Raises:
            SettingError: there are too few steps.
        """
        return steps

    def check(self, last: int) -> None:
        """Raise SettingError unless its levels are within a process with T = `last`."""

    def visiting(self, levels: Sequence[float]) -> "Sampler":
        """Return the sampler of a respaced process, which numbers its levels from 1.

        Args:
            levels: those that it visits, of the process that the model was trained on, ascending.
        """
        return self

    @abstractmethod
    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        noise: Noise,
        gradient: Gradient | None = None,
        threshold: Threshold = clip,
    ) -> Iterator[State]:
        """Sample one batch.

        Args:
            x: (B, C, H, W) pure noise.
            noise: of the steps; not every sampler uses it.
            gradient: gradient of log p(y | x_t), scaled; None for no guidance.
            threshold: applied after guidance by samplers with `clip_again`.

        Yields:
            State after every step.
        """


@dataclass(frozen=True, kw_only=True)
class Stochastic(Sampler):
    """A sampler whose steps may add fresh noise, and forget old noise in exchange.

    Attributes:
        eta: amount of fresh noise: 0 is the probability-flow ODE, 1 the reverse SDE of the
            diffusion process, in which noise has the rate eta^2 of that of the process. Every
            value has the same marginals.
        noise: lowest and highest level of steps that add noise, as in 20-900, in levels of the
            process that the model was trained on; all levels by default.
    """

    eta: Annotated[float, Field(ge=0, le=10)] = 0.0
    noise: Interval | None = None

    @property
    def random(self) -> bool:
        return self.eta > 0

    @property
    def noiseless(self) -> Self:
        return replace(self, eta=0.0)

    def check(self, last: int) -> None:
        check_within(self.noise, last, "sampler.noise")

    def visiting(self, levels: Sequence[float]) -> Self:
        return replace(self, noise=visited_within(self.noise, levels))

    def etas(self, last: int) -> list[float]:
        """Return eta of the step that leaves each level, for levels 0..`last`."""
        low, high = self.noise or (0, last)
        return [self.eta if low <= level <= high else 0.0 for level in range(last + 1)]
