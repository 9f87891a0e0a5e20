"""Steps, start, end -> Grid: the noise levels that sampling visits."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, NoReturn

from pydantic import Field

from adm.diffusion import Schedule, fractional, spacing
from adm.limits import MOST_LEVELS
from adm.spec import Checked, SettingError, out_of_range

Steps = Annotated[int, Field(ge=1, le=MOST_LEVELS)]
Start = Annotated[int, Field(ge=2, le=MOST_LEVELS)]
VisitedLevel = Annotated[float, Field(ge=1, le=MOST_LEVELS, allow_inf_nan=False)]


class Grid(Checked):
    """The noise levels that sampling visits, from the noisiest down to the clean image.

    Attributes:
        steps: number of visited levels. Network evaluations per image are as many, unless the
            sampler evaluates the network more than once a step.
        start: the noisiest level, at which x_t is pure noise; None for that of the spacing.
    """

    steps: int
    start: int | None

    @abstractmethod
    def check(self, last: int) -> None:
        """Refuse a grid that no process with T = `last` has.

        Raises:
            SettingError: a level, `start`, `end` or `steps` is out of range.
            ValueError: the spacing has no such grid.
        """

    @abstractmethod
    def visited(self, schedule: Schedule) -> Sequence[float]:
        """Return the levels of `schedule` that are visited, ascending; whole ones are ints.

        Raises:
            SettingError, ValueError: as `check`.
        """

    def of(self, schedule: Schedule) -> Schedule:
        """Return the process that visits only these levels of `schedule`."""
        return schedule.visiting(self.visited(schedule))


@dataclass(frozen=True, kw_only=True)
class Spaced(Grid):
    """A grid of `steps` levels from the noisiest one down."""

    steps: Steps
    start: Start | None = None
    inherited: ClassVar[tuple[str, ...]] = ("steps", "start")

    def check(self, last: int) -> None:
        start = last if self.start is None else self.start
        if start > last:
            raise out_of_range("grid.start", f"a level in 2..{last}", start)
        if not 2 <= self.steps <= start:
            raise out_of_range("steps", f"in 2..{start}", self.steps)


@dataclass(frozen=True, kw_only=True)
class Whole(Spaced):
    """A grid of whole levels.

    Attributes:
        steps: number of visited levels.
        start: the noisiest level; T by default.
    """

    spacing: ClassVar[Callable[[int, int], list[int]]]  # T, steps -> levels

    def check(self, last: int) -> None:
        super().check(last)
        self.spacing(self.start or last, self.steps)

    def visited(self, schedule: Schedule) -> Sequence[float]:
        self.check(schedule.last)
        return self.spacing(self.start or schedule.last, self.steps)


@dataclass(frozen=True, kw_only=True)
class Even(Whole):
    """Evenly spaced levels, both ends included (Improved DDPM, section 4)."""

    name: ClassVar[str] = "even"
    spacing = staticmethod(spacing.even)


@dataclass(frozen=True, kw_only=True)
class Strided(Whole):
    """The released DDIM spacing: an integer stride from level 1, which few counts have."""

    name: ClassVar[str] = "strided"
    spacing = staticmethod(spacing.strided)


@dataclass(frozen=True, kw_only=True)
class DDIMQuadratic(Whole):
    """The quadratic spacing of DDIM, appendix D.2, of at most sqrt(T) levels."""

    name: ClassVar[str] = "ddim-quadratic"
    spacing = staticmethod(spacing.ddim_quadratic)


@dataclass(frozen=True, kw_only=True)
class Fractional(Spaced):
    """A grid of fractional levels, for few steps.

    Attributes:
        steps: number of visited levels.
        start: the noisiest level; by default the noisiest one with sigma / signal of at most 80.
        end: the least noisy level, from which the last step goes to the clean image; by default
            the one where sigma / signal is 2 / steps.
    """

    end: VisitedLevel | None = None
    spacing: ClassVar[Callable[[Schedule, float, float, int], list[float]]]

    def check(self, last: int) -> None:
        super().check(last)
        if self.end is not None:
            _check_end(self.end, last if self.start is None else self.start)

    def visited(self, schedule: Schedule) -> Sequence[float]:
        self.check(schedule.last)
        start = self.start or fractional.default_start(schedule)
        default = fractional.default_end(schedule, start, self.steps)
        end = default if self.end is None else self.end
        _check_end(end, start)
        return self.spacing(schedule, end, start, self.steps)


@dataclass(frozen=True, kw_only=True)
class LogSNR(Fractional):
    """Levels that are even in the log of the signal-to-noise ratio."""

    name: ClassVar[str] = "log-snr"
    spacing = staticmethod(fractional.log_snr)


@dataclass(frozen=True, kw_only=True)
class Karras(Fractional):
    """Levels that are even in (sigma / signal)^(1/7) (Karras et al. 2022, equation 5)."""

    name: ClassVar[str] = "karras"
    spacing = staticmethod(fractional.karras)


@dataclass(frozen=True, kw_only=True)
class Levels(Grid):
    """A list of levels.

    Attributes:
        levels: ascending, whole or fractional, of the process that the model was trained on.
    """

    levels: Annotated[tuple[VisitedLevel, ...], Field(min_length=1, max_length=MOST_LEVELS)]
    name: ClassVar[str] = "levels"

    def __post_init__(self) -> None:
        super().__post_init__()
        for low, high in pairwise(self.levels):
            if low >= high:
                raise out_of_range("levels", "in ascending order", (low, high))

    @property
    def steps(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.levels)

    @property
    def start(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    def check(self, last: int) -> None:
        if self.levels[-1] > last:
            raise out_of_range("grid.levels", f"in 1..{last}", self.levels[-1])

    def visited(self, schedule: Schedule) -> Sequence[float]:
        self.check(schedule.last)
        return [int(level) if float(level).is_integer() else level for level in self.levels]


@dataclass(frozen=True, kw_only=True)
class Distilled(Grid):
    """The levels that a student was distilled for.

    Attributes:
        steps: number of visited levels, one of those that the student has learned.
    """

    steps: Steps
    inherited: ClassVar[tuple[str, ...]] = ("steps",)
    name: ClassVar[str] = "distilled"

    @property
    def start(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    def check(self, last: int) -> None:
        """Nothing to check: the levels are those of the student."""

    def visited(self, schedule: Schedule) -> NoReturn:
        raise SettingError(
            "grid",
            "{grid=distilled} is for a distilled model, which has learned its levels; use another",
        )


def _check_end(end: float, start: int) -> None:
    if end >= start:
        raise out_of_range("grid.end", f"a level from 1 to below {start}", end)


GRIDS: dict[str, type[Grid]] = {
    kind.name: kind
    for kind in (
        Even,
        Strided,
        DDIMQuadratic,
        LogSNR,
        Karras,
        Levels,
        Distilled,
    )
}
