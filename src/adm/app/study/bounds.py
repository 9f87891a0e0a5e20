"""Spec -> Bound on the bits of an image; x_0, noise -> bits and their terms."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from adm.diffusion import Denoise, Level, Schedule
from adm.diffusion.likelihood import (
    HALF_BIN,
    Levels,
    bits_per_dimension,
    dequantize,
    draw_levels,
    every_level,
    flow_likelihood,
)
from adm.limits import MOST_LEVELS
from adm.samplers import ImageNoise
from adm.samplers.grid import Even, Grid, LogSNR
from adm.samplers.noise import START
from adm.spec import Checked, SettingError

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

    @property
    @abstractmethod
    def grid(self) -> Grid | None:
        """The levels of the model's process that are visited; None for all."""

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

    @property
    @abstractmethod
    def about(self) -> str:
        """What the total is, in a sentence."""

    def of(self, schedule: Schedule) -> Schedule:
        """Return the process that is visited."""
        return schedule if self.grid is None else self.grid.of(schedule)

    def visited(self, schedule: Schedule) -> Sequence[float]:
        """Return the visited levels of the model's process, ascending."""
        if self.grid is None:
            return range(1, schedule.last + 1)
        return self.grid.visited(schedule)


@dataclass(frozen=True, kw_only=True)
class Variational(Bound):
    """The variational bound, term by term (DDPM, equation 5).

    Attributes:
        drawn: levels that are drawn for each image, from which the sum of all is estimated without
            bias; none for all levels.
        steps: levels of the process, evenly spaced, which has a looser bound; none for all.
        levels: the levels of that process whose terms alone are added to the prior.
    """

    drawn: Count | None = None
    steps: Count | None = None
    levels: tuple[Annotated[int, Field(ge=1, le=MOST_LEVELS)], ...] = ()
    name: ClassVar[str] = "variational"
    clips: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drawn is not None and self.levels:
            raise SettingError("drawn", "left out where levels are given", self.drawn)
        if list(self.levels) != sorted(set(self.levels)):
            raise SettingError("levels", "in ascending order", self.levels)

    @property
    def grid(self) -> Grid | None:
        return None if self.steps is None else Even(steps=self.steps)

    def check(self, last: int) -> None:
        if self.grid is not None:
            self.grid.check(last)
        most = self.steps or last
        if self.drawn is not None and self.drawn > most:
            raise SettingError("drawn", f"in 2..{most}", self.drawn)
        if self.levels and self.levels[-1] > most:
            raise SettingError("levels", f"in 1..{most}", self.levels[-1])

    def evaluations(self, last: int) -> int:
        return self.drawn or len(self.levels) or self.steps or last

    @property
    def about(self) -> str:
        if self.levels:
            return "The prior and the terms of these levels alone, whose sum bounds nothing."
        return "The bound of the stochastic sampler, with one draw of the noise at each level."

    def chosen(self, last: int, uniform: Tensor | None = None) -> Levels:
        """Return the levels of a process with T = `last`.

        Args:
            uniform: (B, drawn) in [0, 1], by which they are drawn.
        """
        if uniform is not None:
            return draw_levels(last, uniform)
        if self.levels:
            return Levels(torch.tensor(self.levels[::-1]), torch.ones(len(self.levels)).double())
        return every_level(last)

    def columns(self, schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        middle = None if self.drawn is None else torch.full((1, self.drawn), 0.5)
        level, weight = self.chosen(self.of(schedule).last, middle)
        visited = np.array(self.visited(schedule), np.float64)
        return visited[level.reshape(-1).numpy() - 1], weight.numpy()

    def measure(
        self, denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: ImageNoise
    ) -> dict[str, Tensor]:
        def drawn(level: Level) -> Tensor:
            if isinstance(level, int):
                return noise(level)
            pairs = zip(noise.indices, level.tolist(), strict=True)
            return torch.cat([replace(noise, indices=[i])(each) for i, each in pairs])

        uniform = None
        if self.drawn is not None:
            row = replace(noise, shape=(1, 1, self.drawn))
            uniform = _uniform(row).flatten(1)
        levels = self.chosen(schedule.last, uniform)
        return bits_per_dimension(denoise, schedule, x_0, drawn, levels)._asdict()

    def parts_of(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        rest = arrays["total"] - arrays["prior"]
        if self.levels and self.levels[0] > 1:
            return {"prior": arrays["prior"], "divergences": rest}
        decoder = arrays["terms"][:, -1]
        return {"prior": arrays["prior"], "divergences": rest - decoder, "decoder": decoder}


@dataclass(frozen=True, kw_only=True)
class Flow(Bound):
    """The likelihood by the probability-flow ODE (Song et al. 2021, section 4.3), in Heun's steps.

    Attributes:
        steps: levels that are visited, even in the log-SNR from level 1 to where sigma / signal is
            at most 80.
        probes: random directions at each level, of Hutchinson's estimate of the divergence; from
            two on, they show its error.
        draws: distribution of the probes: random signs, or normal.
    """

    steps: Count = 64
    probes: Annotated[int, Field(ge=1, le=1000)] = 2
    draws: Literal["signs", "normal"] = "signs"
    name: ClassVar[str] = "ode"
    clips: ClassVar[bool] = False

    @property
    def grid(self) -> Grid:
        return LogSNR(steps=self.steps, end=1.0)

    def check(self, last: int) -> None:
        self.grid.check(last)

    def evaluations(self, last: int) -> int:
        return 2 * self.steps - 1

    def columns(self, schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        level = np.array(self.visited(schedule), np.float64)[::-1]
        return level, np.ones(len(level))

    def measure(
        self, denoise: Denoise, schedule: Schedule, x_0: Tensor, noise: ImageNoise
    ) -> dict[str, Tensor]:
        def probe(level: int) -> Tensor:
            drawn = torch.stack([noise(level, PROBE + k) for k in range(self.probes)])
            return drawn if self.draws == "normal" else torch.where(drawn < 0, -1.0, 1.0)

        x = dequantize(x_0, _uniform(noise).to(x_0.device))
        bits = flow_likelihood(denoise, schedule, x, probe)._asdict()
        return bits | {"by_probe": bits["by_probe"].T}

    @property
    def about(self) -> str:
        return (
            "The density of the probability-flow ODE at pixels that are spread over their bins. "
            "Its images keep the noise of level 1."
        )

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
