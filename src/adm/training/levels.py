"""Schedule, uniform draws -> the noise level of each training image, and the weight of its loss."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
import torch
from pydantic import Field

from adm.diffusion import Schedule
from adm.spec import Checked

# (B,) uniforms in [0, 1), one an image -> (B,) int64 levels in 1..T, (B,) weights of their losses
DrawLevels: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class LevelDistribution(Checked):
    """How the noise level of each training image is drawn."""

    @abstractmethod
    def over(self, schedule: Schedule) -> DrawLevels:
        """Return the function that draws levels of this process."""


@dataclass(frozen=True, kw_only=True)
class Uniform(LevelDistribution):
    """Every level with the same probability (DDPM, section 3.4)."""

    name: ClassVar[str] = "uniform"

    def over(self, schedule: Schedule) -> DrawLevels:
        return lambda uniforms: (uniform_level(schedule, uniforms), np.ones(len(uniforms)))


@dataclass(frozen=True, kw_only=True)
class ByLoss(Uniform):
    """In proportion to their recent losses, which are weighted in return (Improved DDPM, 3.3).

    The expected loss is that of uniform levels. They are uniform until every level has a history,
    which is a part of the run (`adm.losses.TimestepImportance`).
    """

    name: ClassVar[str] = "by-loss"


@dataclass(frozen=True, kw_only=True)
class LogNormal(LevelDistribution):
    """With ln(sigma / signal) normally distributed (Karras et al. 2022, table 1).

    Each level has the probability of its cell, which reaches half-way to its neighbours; the cells
    of levels 1 and T reach to infinity. The distribution is itself the weighting of the levels:
    no weight of the loss undoes it.

    Attributes:
        mean: of ln(sigma / signal).
        std: its standard deviation.
    """

    mean: Annotated[float, Field(ge=-20, le=20)] = -1.2
    std: Annotated[float, Field(gt=0, le=20)] = 1.2
    name: ClassVar[str] = "log-normal"

    def over(self, schedule: Schedule) -> DrawLevels:
        ends = self.upper_ends(schedule).numpy()
        return lambda uniforms: (
            1 + np.searchsorted(ends, uniforms, side="right"),
            np.ones(len(uniforms)),
        )

    def upper_ends(self, schedule: Schedule) -> torch.Tensor:
        """Return the probability of levels up to 1, 2, ..., T - 1, (T - 1,) float64."""
        log_ratio = -schedule.log_snr[1:] / 2
        between = (log_ratio[:-1] + log_ratio[1:]) / 2
        return torch.special.ndtr((between - self.mean) / self.std)


LEVELS: dict[str, type[LevelDistribution]] = {
    kind.name: kind for kind in (Uniform, ByLoss, LogNormal)
}


def uniform_level(schedule: Schedule, uniforms: np.ndarray) -> np.ndarray:
    """Return (B,) int64 levels, uniform in 1..T."""
    return 1 + np.floor(uniforms * schedule.last).astype(np.int64)
