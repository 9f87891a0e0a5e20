"""Steps, spacing, start, end -> Grid: the noise levels that sampling visits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from adm.arguments import check_grid, check_levels
from adm.diffusion import Schedule
from adm.diffusion.fractional import FRACTIONAL, usual_end, usual_start
from adm.diffusion.spacing import SPACINGS
from adm.shown import shown

SEARCHED, DISTILLED = "searched", "distilled"
NAMES = (*SPACINGS, *FRACTIONAL, SEARCHED, DISTILLED)
STEPS = 250


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The noise levels that sampling visits, from the noisiest down to the clean image.

    Attributes:
        steps: number of visited levels, in 2..`start`, and of `levels` if those are given. Network
            evaluations per image are as many, unless the sampler evaluates the network more than
            once a step (see its `evaluations`).
        spacing: of whole levels, a name in `adm.diffusion.spacing.SPACINGS`; of fractional ones,
            log_snr or karras (`adm.diffusion.fractional`); or searched, the levels that `adm grid`
            has stored beside the model; or distilled, those that a student was distilled for, of
            which there may be one. It has no effect if `levels` are given.
        start: the noisiest level, at which x_t is pure noise. None for T, or for log_snr and karras
            for the noisiest level with sigma / signal of at most 80.
        end: for log_snr and karras, the least noisy level, from which the last step goes to the
            clean image; None for the one where sigma / signal is 2 / `steps`.
        levels: the visited levels themselves, ascending, whole or fractional, of the process that
            the model was trained on; None for those of the spacing.

    Raises:
        ValueError: the spacing is unknown, or the fields do not fit each other.
    """

    steps: int = STEPS
    spacing: str = "even"
    start: int | None = None
    end: float | None = None
    levels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.spacing not in NAMES:
            near = get_close_matches(str(self.spacing), NAMES) or NAMES
            raise ValueError(f"spacing {shown(self.spacing)} is unknown; use {' or '.join(near)}")
        if self.levels is not None:
            self._fit()
        if self.end is not None and self.spacing not in FRACTIONAL:
            raise ValueError(
                f"end is for spacing {' or '.join(FRACTIONAL)}, got spacing {self.spacing}; "
                "leave it out"
            )

    def _fit(self) -> None:
        """Set `steps` to the number of levels, and refuse other fields that say otherwise."""
        assert self.levels is not None
        check_levels(self.levels, least=self._fewest)
        count = len(self.levels)
        if self.steps not in (STEPS, count):
            raise ValueError(f"got steps={self.steps} and {count} levels; leave one of them out")
        if self.start not in (None, self.levels[-1]) or self.end not in (None, self.levels[0]):
            raise ValueError("start and end are those of the levels; leave them out")
        object.__setattr__(self, "steps", count)
        object.__setattr__(self, "levels", tuple(map(float, self.levels)))

    @property
    def sought(self) -> bool:
        """Whether its levels are those stored beside a model, and not known yet."""
        return self.spacing == SEARCHED and self.levels is None

    @property
    def learned(self) -> bool:
        """Whether its levels are those that a student was distilled for, and not known yet."""
        return self.spacing == DISTILLED and self.levels is None

    @property
    def _fewest(self) -> int:
        return 1 if self.spacing == DISTILLED else 2

    def check(self, last: int) -> None:
        """Refuse a grid that no process with T = `last` has.

        Raises:
            ValueError: a level, `start`, `end` or `steps` is out of range, or the spacing has no
                such grid.
        """
        if self.levels is not None:
            check_levels(self.levels, last, self._fewest)
            return
        if self.learned:
            return  # the student knows its levels
        start = check_grid(self.steps, self.start, last)
        if self.end is not None:
            _check_end(self.end, start)
        if self.spacing in SPACINGS:
            SPACINGS[self.spacing](start, self.steps)

    def visited(self, schedule: Schedule) -> Sequence[float]:
        """Return the levels of `schedule` that are visited, ascending; whole ones are ints.

        Raises:
            ValueError: as `check`; or they are to be searched, and are not known.
        """
        self.check(schedule.last)
        if self.levels is not None:
            return [int(level) if level.is_integer() else level for level in self.levels]
        if self.spacing in SPACINGS:
            return SPACINGS[self.spacing](self.start or schedule.last, self.steps)
        if self.learned:
            raise ValueError(
                "spacing distilled is for distilled models, whose generator knows the levels; pass "
                "another spacing"
            )
        if self.sought:
            raise ValueError("the levels of a searched grid are known to a generator; pass levels")
        start = self.start or usual_start(schedule)
        end = usual_end(schedule, start, self.steps) if self.end is None else self.end
        _check_end(end, start)
        return FRACTIONAL[self.spacing](schedule, end, start, self.steps)

    def of(self, schedule: Schedule) -> Schedule:
        """Return the process that visits only these levels of `schedule`."""
        return schedule.visiting(self.visited(schedule))


def _check_end(end: float, start: int) -> None:
    if not 1 <= end < start:
        raise ValueError(f"end must be a level from 1 to below {start}, got {end:g}")


def regridded(grid: Grid, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a grid with some of them changed.

    Fields that said how the levels were chosen before do not outlive another choice: levels give
    way to any other field, and any other field to levels; `end` to another spacing.

    Args:
        given: fields by name, as a user gives them.

    Raises:
        ValueError: levels and steps are given.
    """
    values = asdict(grid)
    if given.get("levels") is not None:
        if "steps" in given:
            raise ValueError("pass steps=... or levels=..., not both")
        values |= {"steps": STEPS, "start": None, "end": None}
    elif any(value != values[name] for name, value in given.items()):
        values["levels"] = None
    if given.get("spacing", grid.spacing) != grid.spacing:
        values["end"] = None
    return values | dict(given)
