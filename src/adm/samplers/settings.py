"""Sampler, Grid, ClassifierGuidance, seed -> Sampling."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from adm.arguments import check_grid
from adm.diffusion import Schedule
from adm.diffusion.spacing import SPACINGS
from adm.samplers.ancestral import Ancestral
from adm.samplers.classifier_guidance import ClassifierGuidance
from adm.samplers.table import Sampler

Precision = Literal["float32", "bfloat16", "float16"]
Rounding = Literal["nearest", "truncated"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The noise levels that sampling visits.

    Attributes:
        steps: network evaluations per image, in 2..`start`.
        spacing: spacing of the levels, a name in `adm.diffusion.spacing.SPACINGS`.
        start: the noisiest level, at which x_t is pure noise; None for T.

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
        """Return the levels visited of a process with T = `last`, ascending.

        Raises:
            ValueError: `start` or `steps` is out of range, or the spacing has no such grid.
        """
        start = check_grid(self.steps, self.start, last)
        return SPACINGS[self.spacing](start, self.steps)

    def of(self, schedule: Schedule) -> Schedule:
        """Return the process that visits only these levels of `schedule`."""
        return schedule.respaced(self.levels(schedule.last))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Everything besides the models that determines samples.

    A recipe has one, `Pipeline.sample` and the command line change it, and the manifest of a sample
    folder stores it.

    Attributes:
        sampler: the algorithm, with its parameters.
        grid: the noise levels visited.
        guidance: the terms of classifier guidance; empty for no guidance.
        use_labels: whether a class-conditional model receives the class; otherwise only the
            guidance depends on it.
        precision: precision of the networks; everything else is float32.
        seed: random seed, in 0..2^64 - 1; with the index of an image it determines its noise.
        rounding: rounding to 8 bits; the released system uses `truncated`.

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
        """Sum of the scales of all guidance; 0 for no guidance."""
        return sum(term.scale for term in self.guidance)
