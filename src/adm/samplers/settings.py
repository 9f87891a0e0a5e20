"""Sampler, Grid, guidance, seed -> Sampling: all that makes samples what they are."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from adm.diffusion import Schedule
from adm.diffusion.spacing import SPACINGS
from adm.guidance import Gradient, between, capped, every, scaled
from adm.samplers.ancestral import Ancestral
from adm.samplers.table import Sampler

Precision = Literal["float32", "bfloat16", "float16"]
Rounding = Literal["nearest", "truncated"]
PositiveInt = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The noise levels that sampling visits.

    Attributes:
        steps: evaluations of the network per image, from 2 up to `start`.
        spacing: how the levels are spread; a name in `adm.diffusion.spacing.SPACINGS`.
        start: the noisiest level, where pure noise stands in for x_t; T where None.

    Raises:
        ValueError: the spacing is unknown.
    """

    steps: int = 250
    spacing: str = "even"
    start: int | None = None

    def __post_init__(self) -> None:
        if self.spacing not in SPACINGS:
            raise ValueError(f"spacing {self.spacing!r} is unknown; use {' or '.join(SPACINGS)}")

    def levels(self, last: int) -> list[int]:
        """The levels of a process of T = `last` that are visited, rising.

        Raises:
            ValueError: the process has no such levels.
        """
        start = last if self.start is None else self.start
        if not 2 <= start <= last:
            raise ValueError(f"start must be a level in 2..{last}, got {start}")
        if not 2 <= self.steps <= start:
            raise ValueError(f"steps must be in 2..{start}, got {self.steps}")
        return SPACINGS[self.spacing](start, self.steps)

    def of(self, schedule: Schedule) -> Schedule:
        """The process that visits these levels of `schedule` only."""
        return schedule.respaced(self.levels(schedule.last))


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance:
    """The gradient of a noisy classifier: how strongly and where it guides.

    Attributes:
        scale: of the gradient; any finite number.
        interval: the lowest and highest level, of the process that the model was trained on, at
            which it guides; None for all levels.
        every: the gradient is evaluated at every so many levels visited, and reused between them.
        cap: largest L2 norm of an image's scaled gradient; None for no limit.
    """

    scale: Annotated[float, Field(allow_inf_nan=False)]
    interval: tuple[int, int] | None = None
    every: PositiveInt = 1
    cap: Annotated[float, Field(gt=0)] | None = None
    name: Literal["classifier"] = "classifier"

    def applied(self, gradient: Gradient, levels: list[int]) -> Gradient:
        """The gradient with this scale, in this place.

        Args:
            levels: of the process that the model was trained on, visited by the sampler, rising.
        """
        found = scaled(gradient, self.scale)
        if self.cap is not None:
            found = capped(found, self.cap)
        if self.every > 1:
            found = every(found, self.every)
        if self.interval is None:
            return found
        low, high = self.interval
        inside = [i for i, level in enumerate(levels, start=1) if low <= level <= high]
        # Levels 0 of nothing: an interval between two levels that are visited guides at none.
        return between(found, *((inside[0], inside[-1]) if inside else (0, 0)))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Everything besides the models that makes samples what they are.

    A recipe carries one, the command line and `Model.sample` change it, and the manifest of a
    sample folder stores it.

    Attributes:
        sampler: the algorithm, with its own parameters.
        grid: the noise levels visited.
        guidance: what guides, how strongly and where; empty for no guidance.
        use_labels: whether a class-conditional model is told the class. Otherwise only the
            guidance knows it.
        precision: of the networks' arithmetic; all else is float32.
        seed: with an image's index, the source of all its noise; in 0..2^64 - 1.
        rounding: to 8 bits; `truncated` is what the released system does.

    Raises:
        ValueError: the seed is out of range.
    """

    sampler: Annotated[Sampler, Field(discriminator="name")] = field(default_factory=Ancestral)
    grid: Grid = field(default_factory=Grid)
    guidance: tuple[ClassifierGuidance, ...] = ()
    use_labels: bool = True
    precision: Precision = "float32"
    seed: int = 0
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in 0..2^64 - 1, got {self.seed}")

    @property
    def scale(self) -> float:
        """Of all classifier guidance together; 0 where there is none."""
        return sum(term.scale for term in self.guidance)
