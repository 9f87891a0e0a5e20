"""Sampler, grid, steps, scale, precision -> Point: its name, and its options of `adm sample`."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Annotated, Any

from pydantic import Field

from adm.limits import MOST_LEVELS
from adm.shown import exactly

Word = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, order=True)
class Point:
    """One combination of the settings that decide how long an image takes, and how good it is.

    Attributes:
        sampler: its name, with parameters after colons, as in ddim:eta=0.5.
        spacing: of the levels.
        steps: levels visited.
        scale: of the guidance; 0 for none.
        precision: of the networks.
        end: least noisy level that is visited; None for the recipe's, or the usual one.
    """

    sampler: Word
    spacing: Word
    steps: Annotated[int, Field(ge=1, le=MOST_LEVELS)]
    scale: Annotated[float, Field(allow_inf_nan=False)]
    precision: Word
    end: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None

    @property
    def name(self) -> str:
        """The name of its files."""
        sampler = self.sampler.replace(":", "-").replace("=", "")
        end = "" if self.end is None else f"-end{exactly(self.end)}"
        way = f"{sampler}-{self.spacing}-{self.steps}{end}"
        return f"{way}-scale{exactly(self.scale)}-{self.precision}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings by the names of `adm.samplers.words.changed` and of `SamplingOptions`."""
        own = asdict(self)
        return own if self.end is not None else {k: v for k, v in own.items() if k != "end"}

    @property
    def options(self) -> str:
        """The options of `adm sample` that choose it."""
        numbers = {"scale": self.scale, "end": self.end}
        exact = {name: exactly(value) for name, value in numbers.items() if value is not None}
        values = self.settings | exact
        return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in values.items())

    @property
    def grid(self) -> str:
        """The spacing in words, with the end if it is given."""
        return self.spacing if self.end is None else f"{self.spacing} to {exactly(self.end)}"

    def __str__(self) -> str:
        return f"{self.sampler}, {self.grid}, {self.steps} steps, {self.precision}"


def combinations(**listed: Sequence[Any]) -> list[Point]:
    """Return all combinations of the values that are listed of each setting, by its name.

    Raises:
        ValueError: a list is empty, or has a value twice.
    """
    for name, given in listed.items():
        if not given or len(set(given)) != len(given):
            raise ValueError(f"{name} must be one or more different values, got {tuple(given)}")
    return [Point(**dict(zip(listed, each, strict=True))) for each in product(*listed.values())]
