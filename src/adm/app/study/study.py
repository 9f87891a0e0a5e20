"""Model, axes of settings -> Study: its points, and a sample folder for each.

Image i has the same label and starts from the same noise at every point.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from adm.generation.job import Job
from adm.generation.labels import labels_of, positive
from adm.generation.pipeline import Pipeline
from adm.shown import shown
from adm.spec import SettingError, out_of_range, split, written
from adm.store.files import write_json
from adm.store.hashes import sha256_of
from adm.store.parsed import as_type, cached_json, through_json

SAMPLES, POINTS = "samples", "points"  # in the folder of a study: sample folders; what was measured
LONGEST = 100  # characters of the name of a sample folder
UNSAFE = re.compile(r"[^\w.,=+-]+")

Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Axis:
    """A setting of sampling, and the values that it takes.

    Attributes:
        name: of the setting, such as `scale`, `sampler` or `guide`.
        values: one or more; numbers in order, from the weakest effect on if they are a strength.
    """

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(map(written, self.values))) < len(self.values):
            got = shown(",".join(map(written, self.values)))
            raise ValueError(f"give one or more different values of {self.name}, got {got}")

    @property
    def words(self) -> str:
        """The name in words, such as `guide scale`."""
        return self.name.replace("_", " ")

    @property
    def is_strength(self) -> bool:
        """Whether a larger effect of the setting trades diversity for fidelity."""
        return self.name == "guide" or self.name.endswith("scale")

    @property
    def is_number(self) -> bool:
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @property
    def ordered(self) -> "Axis":
        """The axis with numbers in order."""
        if not self.is_number:
            return self
        values = sorted(self.values, key=lambda value: float(str(value)))
        return replace(self, values=tuple(values))


def axis(text: str) -> Axis:
    """Read an axis, such as `scale=0,1,2` or `grid=karras:end=3,levels:3,40,980`.

    Values are separated by commas; what follows the colon of a spec is its own, see `split`.
    """
    name, _, rest = (part.strip() for part in text.partition("="))
    values = split(rest)
    if not name.replace("-", "_").isidentifier() or not all(values):
        raise out_of_range("vary", "of the form NAME=VALUE,VALUE, as in scale=0,1,2", text)
    return Axis(name.replace("-", "_"), tuple(map(_value, values))).ordered


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@dataclass(frozen=True)
class Point:
    """One value of each setting that differs.

    Attributes:
        values: (name, value) in the order of the axes.
    """

    values: tuple[tuple[str, Value], ...]

    @property
    def settings(self) -> dict[str, Value]:
        """The settings by name, as `Pipeline.job` takes them."""
        return dict(self.values)

    @property
    def name(self) -> str:
        """The name of its sample folder."""
        parts = (f"{name.replace('_', '-')}-{written(value)}" for name, value in self.values)
        name = UNSAFE.sub("-", "_".join(parts)) or "all"
        if len(name) > LONGEST:
            return f"{name[: LONGEST - 9]}-{sha256_of(repr(self.values).encode())[:8]}"
        return name

    def text(self, name: str) -> str:
        """Return the value of a setting as text."""
        return written(self.settings[name])

    def without(self, *names: str) -> str:
        """Return the other settings in words, such as `sampler ddim, steps 10`."""
        others = [(name, value) for name, value in self.values if name not in names]
        return ", ".join(f"{name.replace('_', ' ')} {written(value)}" for name, value in others)

    def __str__(self) -> str:
        return self.without()


@dataclass(frozen=True, eq=False)
class Study:
    """The points to sample: all combinations of the values of the axes.

    Attributes:
        name: of the model.
        model: makes the images.
        axes: the settings that differ, and those of one value.
        labels: (count,) one label per image; None for a model without classes.
        count: images per point.
        base: the settings that all points share.
    """

    name: str
    model: Pipeline
    axes: tuple[Axis, ...]
    labels: list[int] | None
    count: int
    base: Mapping[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> list[Point]:
        """The points; the last axis varies fastest."""
        names = [each.name for each in self.axes]
        combinations = product(*(each.values for each in self.axes))
        return [Point(tuple(zip(names, values, strict=True))) for values in combinations]

    @property
    def varied(self) -> list[Axis]:
        """The axes of more than one value."""
        return [each for each in self.axes if len(each.values) > 1]

    def job(self, point: Point) -> Job:
        """Return the job of one point; without labels if nothing in it depends on a class."""
        generator = self.model.generator(**{**self.base, **point.settings})
        return Job(generator, self.labels if generator.classes else None, self.count)

    def check(self) -> None:
        """Raise ValueError if any point cannot be sampled or scored."""
        names = [each.name for each in self.axes]
        if len(set(names)) < len(names):
            twice = max(names, key=names.count)
            raise SettingError("vary", f"{{}} has {twice} twice; give all of its values in one")
        if positive("count", self.count) < 2:
            raise out_of_range("count", "at least 2", self.count, "scores need two images")
        for point in self.points:
            self.job(point)


def study_of(
    model: Pipeline,
    axes: Sequence[Axis],
    *,
    count: int,
    seed: int,
    classes: str | None = None,
    labels: list[int] | None = None,
) -> Study:
    """Return the study of a model; the seed is one of its settings unless it is an axis.

    Args:
        classes: names to sample in turn, separated by commas; by default all of the model.
        labels: (count,) in place of those.
    """
    if labels is None and model.classes:
        chosen, _ = labels_of(classes or "all", model.classes)
        labels = balanced_labels(chosen or [], count)
    base = {} if any(each.name == "seed" for each in axes) else {"seed": seed}
    return Study(model.model.name, model, tuple(axes), labels, count, base)


def balanced_labels(classes: Sequence[int], count: int) -> list[int]:
    """Return (count,) labels that cycle through `classes`: counts differ by at most one.

    Raises:
        ValueError: `count` is out of range.
    """
    return [classes[i % len(classes)] for i in range(positive("count", count))]


T = TypeVar("T")


@dataclass(frozen=True)
class CacheFile(Generic[T]):
    """A file with a value and the inputs on which it depends.

    Attributes:
        inputs: JSON values; a stored value of other inputs is ignored.
        kind: type of the value, as pydantic takes it.
    """

    path: Path
    inputs: dict[str, Any]
    kind: Any

    def read(self) -> T | None:
        """Return the value; None if it is missing, damaged, or of other inputs."""
        stored = cached_json(self.path)
        if stored is None or stored.get("of") != through_json(self.inputs):
            return None
        try:
            return as_type(self.kind, stored.get("value"))
        except ValueError:
            return None

    def write(self, value: object) -> None:
        """Store JSON values, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"of": self.inputs, "value": value})
