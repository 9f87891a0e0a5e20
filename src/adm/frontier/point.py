"""Sampler, spacing, steps, scale, precision -> Point: its name, and its options of `adm sample`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    sampler: Word
    spacing: Word
    steps: Annotated[int, Field(ge=1, le=MOST_LEVELS)]
    scale: Annotated[float, Field(allow_inf_nan=False)]
    precision: Word

    @property
    def name(self) -> str:
        """The name of its files."""
        sampler = self.sampler.replace(":", "-").replace("=", "")
        way = f"{sampler}-{self.spacing}-{self.steps}"
        return f"{way}-scale{exactly(self.scale)}-{self.precision}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings by the names of `adm.samplers.words.changed` and of `SamplingOptions`."""
        return {
            "sampler": self.sampler,
            "spacing": self.spacing,
            "steps": self.steps,
            "scale": self.scale,
            "precision": self.precision,
        }

    @property
    def options(self) -> str:
        """The options of `adm sample` that choose it."""
        values = {**self.settings, "scale": exactly(self.scale)}
        return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in values.items())

    def __str__(self) -> str:
        return f"{self.sampler}, {self.spacing}, {self.steps} steps, {self.precision}"


def combinations(**listed: Sequence[Any]) -> list[Point]:
    """Return all combinations of the values that are listed of each setting, by its name.

    Raises:
        ValueError: a list is empty, or has a value twice.
    """
    for name, given in listed.items():
        if not given or len(set(given)) != len(given):
            raise ValueError(f"{name} must be one or more different values, got {tuple(given)}")
    return [Point(**dict(zip(listed, each, strict=True))) for each in product(*listed.values())]
