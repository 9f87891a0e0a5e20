"""Spec -> Bound on the bits of an image; x_0, noise -> bits and their terms."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Level, Schedule
from adm.diffusion.likelihood import (
    HALF_BIN,
    bits_per_dimension,
    dequantize,
    draw_levels,
    every_level,
    flow_likelihood,
)
from adm.limits import MOST_LEVELS
from adm.samplers import ImageNoise
from adm.samplers.grid import LogSNR
from adm.samplers.noise import START
from adm.spec import Checked, out_of_range

UNIFORM, PROBE = 1, 2  # draws of an image's noise: at `START`; at a level, the first of the probes
BIN = -math.log2(2 * HALF_BIN)  # bits per dimension from a density to a probability of bytes

Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]  # by name, of as many rows as images
Count = Annotated[int, Field(ge=2, le=MOST_LEVELS)]


class Bound(Checked):
    """A way to bound the bits that an image takes; `name` and the fields are its spec.

    Attributes:
        clips: whether estimates of x_0 are clipped, as the released system does; which has no
            slope.
    """

    clips: ClassVar[bool]

    @abstractmethod
    def check(self, last: int) -> None:
        """Raise SettingError unless a process with T = `last` has these levels."""

    @abstractmethod
    def evaluations(self, last: int) -> int:
        """Return the evaluations of the network for an image of a process with T = `last`."""

    @abstractmethod
    def columns(self, schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean level of each column of terms, and the levels it stands for."""

    @abstractmethod
    def measure(
        self, denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: ImageNoise
    ) -> dict[str, Tensor]:
        """Return `total`, `prior` and `terms` of images, and more, by name.

        Args:
            denoise: of `schedule`, the process that is visited.
            x_0: (B, C, H, W) 8-bit pixels mapped to [-1, 1].
            noise: of these images.
        """

    @abstractmethod
    def parts_of(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Return what adds up to the total, by name, (N,) each or a constant."""

    def of(self, schedule: Schedule) -> Schedule:
        """Return the process that is visited, by default that of the model."""
        return schedule


@dataclass(frozen=True, kw_only=True)
class Variational(Bound):
    """The variational bound of the stochastic sampler, term by term (DDPM, equation 5).

    The noise is drawn once at each level.

    Attributes:
        drawn: levels that are drawn for each image, from which the sum of all is estimated without
            bias; none for all levels.
    """

    drawn: Count | None = None
    name: ClassVar[str] = "variational"
    clips: ClassVar[bool] = True

    def check(self, last: int) -> None:
        if self.drawn is not None and self.drawn > last:
            raise out_of_range("drawn", f"from 2 to {last}, the levels of the model", self.drawn)

    def evaluations(self, last: int) -> int:
        return self.drawn or last

    def columns(self, schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.drawn is None:
            level, weight = every_level(schedule.last)
        else:
            level, weight = draw_levels(schedule.last, torch.full((1, self.drawn), 0.5))
        return level.reshape(-1).double().numpy(), weight.numpy()

    def measure(
        self, denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: ImageNoise
    ) -> dict[str, Tensor]:
        def drawn(level: Level) -> Tensor:
            if isinstance(level, int):
                return noise(level)
            pairs = zip(noise.indices, level.tolist(), strict=True)
            return torch.cat([replace(noise, indices=[i])(each) for i, each in pairs])

        levels = None
        if self.drawn is not None:
            uniform = _uniform(replace(noise, shape=(1, 1, self.drawn))).flatten(1)
            levels = draw_levels(schedule.last, uniform)
        return bits_per_dimension(denoise, schedule, x_0, drawn, levels)._asdict()

    def parts_of(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        prior, decoder = arrays["prior"], arrays["terms"][:, -1]
        divergences = arrays["total"] - prior - decoder
        return {"prior": prior, "divergences": divergences, "decoder": decoder}


@dataclass(frozen=True, kw_only=True)
class Flow(Bound):
    """The likelihood by the probability-flow ODE (Song et al. 2021, section 4.3), in Heun's steps.

    It is the density of images with the noise of level 1, at pixels that are spread over their
    bins.

    Attributes:
        steps: levels that are visited, even in the log-SNR from level 1 to where sigma / signal is
            at most 80.
        probes: random signs at each level, of Hutchinson's estimate of the divergence; from two on,
            they show its error.
    """

    steps: Count = 64
    probes: Annotated[int, Field(ge=1, le=1000)] = 2
    name: ClassVar[str] = "ode"
    clips: ClassVar[bool] = False

    @property
    def grid(self) -> LogSNR:
        """The levels of the model's process that are visited."""
        return LogSNR(steps=self.steps, end=1.0)

    def of(self, schedule: Schedule) -> Schedule:
        return self.grid.of(schedule)

    def check(self, last: int) -> None:
        self.grid.check(last)

    def evaluations(self, last: int) -> int:
        return 2 * self.steps - 1

    def columns(self, schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        level = np.array(self.grid.visited(schedule), np.float64)[::-1]
        return level, np.ones(len(level))

    def measure(
        self, denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: ImageNoise
    ) -> dict[str, Tensor]:
        def probe(level: int) -> Tensor:
            drawn = torch.stack([noise(level, PROBE + k) for k in range(self.probes)])
            return torch.where(drawn < 0, -1.0, 1.0)

        x = dequantize(x_0, _uniform(noise).to(x_0.device))
        bits = flow_likelihood(denoise, schedule, x, probe)._asdict()
        return bits | {"by_probe": bits["by_probe"].T}

    def parts_of(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        return {
            "prior": arrays["prior"] - BIN,
            "divergence": arrays["terms"].sum(1),
            "bins": np.full(1, BIN, np.float32),
        }


BOUNDS: dict[str, type[Bound]] = {kind.name: kind for kind in (Variational, Flow)}


def _uniform(noise: ImageNoise) -> Tensor:
    """Return uniform numbers in [0, 1] of the same shape, on the CPU."""
    return torch.special.ndtr(replace(noise, device="cpu")(START, UNIFORM))
