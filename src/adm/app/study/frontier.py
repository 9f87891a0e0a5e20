"""frontier.json <-> Frontier: time and quality of points; Frontier -> the best within a time.

A point is on the frontier of time and a cost, such as an error, if no other is as fast and has a
lower one.
"""

import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field

from adm.app.study.study import Point, Value, as_text
from adm.generation.labels import MOST_IMAGES
from adm.models.paths import measurement, sidecar_path
from adm.scoring import Score
from adm.shown import exactly, shown_path
from adm.spec import SettingError
from adm.store.files import write_text
from adm.store.hashes import Sha256
from adm.store.parsed import as_type, read_json

NAME = "frontier"  # of its file beside a model
FILE = f"{NAME}.json"  # in a frontier folder
# Settings with an option of `adm sample`; --set takes the others.
OPTIONS = ("scale", "steps", "sampler", "grid", "guide", "seed", "precision")
MOST_POINTS, MOST_FEATURES = 100_000, 100
DIGITS = 2  # significant, of the budgets that are recommended

T = TypeVar("T")
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Calls = Annotated[int, Field(ge=0, le=10**9)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=1000)]
Setting = Annotated[str, Field(max_length=1000)] | bool | int | Finite | None

time_of = attrgetter("seconds")  # of a measured point


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance with its 95% interval; None if that is unknown."""

    value: Finite
    low: Finite | None = None
    high: Finite | None = None

    @classmethod
    def of(cls, score: Score) -> "Distance":
        low, high = (x if math.isfinite(x) else None for x in (score.low, score.high))
        return cls(score.value, low, high)

    @property
    def score(self) -> Score:
        return Score(self.value, *(math.nan if x is None else x for x in (self.low, self.high)))

    @property
    def highest(self) -> float:
        """The upper end of the interval, or the value."""
        return self.value if self.high is None else max(self.value, self.high)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point with its measurements.

    Attributes:
        settings: of sampling, by name.
        seconds: of an image, the median of several measurements.
        low, high: the lowest and the highest of them.
        network, classifier: calls of each for an image.
        error: root mean square error against the converged images, of pixels in [-1, 1]; None if
            sampling gave NaN or infinity, or if steps add noise.
        distances: features -> Fréchet distance of all images; empty for a point that was left out
            after the first pass.
        random: whether steps add noise, so that there are no converged images; False if sampling
            gave NaN or infinity.
    """

    settings: Annotated[dict[Word, Setting], Field(max_length=50)]
    seconds: Seconds
    low: Seconds
    high: Seconds
    network: Calls
    classifier: Calls
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    distances: dict[Word, Distance]
    random: bool = False

    @property
    def point(self) -> Point:
        return Point(tuple(self.settings.items()))

    @property
    def scale(self) -> float:
        """The guidance scale; 0 without one."""
        return float(self.settings.get("scale") or 0)

    @property
    def way(self) -> str:
        """The settings without the scale in words, such as `unipc, karras, steps 8`."""
        words = [
            value if isinstance(value, str) else f"{name.replace('_', ' ')} {as_text(value)}"
            for name, value in self.settings.items()
            if name != "scale"
        ]
        return ", ".join(words)


class Budget(NamedTuple):
    """The best point within a time, and the time from which another one is better."""

    seconds: float
    point: Measured


class Recommended(NamedTuple):
    """The recommended points of a scale.

    Attributes:
        fast: the fastest whose distance is within the interval of the lowest one, by all features.
        best: of these, the one of the lowest distance by the first features; of all points if there
            are none.
        budgets: the best point from each time on, in order of time.
        distinct: whether the interval of the best is below another's, by any features.
    """

    fast: Measured
    best: Measured
    budgets: list[Budget]
    distinct: bool

    @property
    def superlative(self) -> str:
        """The name of the best point; it is only the lowest where the intervals of all overlap."""
        return "best" if self.distinct else "lowest"

    @property
    def claim(self) -> str:
        """The claim about the best point, as a predicate."""
        return "is best" if self.distinct else "is lowest, though within the intervals of all"

    @property
    def named(self) -> dict[str, Measured]:
        """The two points by their names; one that is both has both."""
        if self.fast is self.best:
            return {f"fast, {self.superlative}": self.best}
        return {"fast": self.fast, self.superlative: self.best}


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Time against quality of a model on one machine.

    Attributes:
        model, classifier, weak: hashes of the network, and of the classifier and the weaker model
            that guide it; see `adm.generation.generator.identity`.
        machine: on which it was measured.
        shared: the settings that all points share, by name.
        count, trial_count: images of a point in the second pass, and in the first.
        features: in which distances are measured; the first decides what is best.
        points: all, including those that were left out after the first pass.
        notes: on the measurements.
    """

    model: Sha256
    classifier: Sha256 | None
    machine: Text
    shared: dict[Word, Setting]
    count: Annotated[int, Field(ge=2, le=MOST_IMAGES)]
    trial_count: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    features: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MOST_FEATURES)]
    points: Annotated[tuple[Measured, ...], Field(min_length=1, max_length=MOST_POINTS)]
    notes: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    weak: Sha256 | None = None

    def __post_init__(self) -> None:
        names = set(self.features)
        for each in self.points:
            if each.distances and set(each.distances) != names:
                raise ValueError(f"point {each.point.name} has no distance by one of the features")
        if not any(each.distances for each in self.points):
            raise ValueError("no point has a distance")

    @property
    def scales(self) -> list[float]:
        return sorted(by_scale(self.points))

    def scored(self, scale: float) -> list[Measured]:
        """Return the points of a scale whose distance was measured."""
        return [each for each in by_scale(self.points).get(scale, []) if each.distances]

    def distance(self, point: Measured) -> Distance:
        """Return the distance by the first features, which decides what is best."""
        return point.distances[self.features[0]]

    @property
    def recommended(self) -> dict[float, Recommended]:
        """The recommended points of each scale at which any was scored."""
        return {scale: self._recommend(scale) for scale in self.scales if self.scored(scale)}

    def fastest(self, scale: float) -> Measured:
        """Return the fastest point of a scale that was scored.

        Raises:
            SettingError: no point of this scale was; names the scales of those that were.
        """
        points = self.scored(scale)
        if not points:
            known = ", ".join(map(exactly, self.recommended))
            raise SettingError("scale", f"one that was measured, {known}", scale)
        return min(points, key=time_of)

    def within(self, scale: float, seconds: float, slower: float = 1.0) -> Measured:
        """Return the best point that takes at most so many seconds an image.

        That is the recommended best one if it fits, or the one of the lowest distance by the first
        features.

        Args:
            slower: seconds here for one second on the machine of the frontier.

        Raises:
            SettingError: no point of this scale was scored, or none is as fast; names the fastest.
        """
        fastest = self.fastest(scale)
        fitting = [one for one in self.scored(scale) if one.seconds * slower <= seconds]
        if not fitting:
            least = round_up(fastest.seconds * slower)
            raise SettingError(
                "budget",
                f"at least {least:g}s at scale {exactly(scale)}",
                spoken(seconds),
                f"the fastest settings are {options(fastest.settings)}",
            )
        return min(fitting, key=self._rank(scale))

    def _recommend(self, scale: float) -> Recommended:
        points, cost = self.scored(scale), self._rank(scale)
        best = min(points, key=cost)
        equal = self._equal(points)
        fast = min(equal, key=lambda one: (one.seconds, cost(one)), default=best)
        budgets = [Budget(round_up(one.seconds), one) for one in on_frontier(points, time_of, cost)]
        distinct = any(
            best.distances[name].score.high < one.distances[name].score.low
            for name in self.features
            for one in points
        )
        return Recommended(fast, best, budgets, distinct)

    def _rank(self, scale: float) -> Callable[[Measured], float]:
        """Return the function point -> distance by the first features, -infinity for the best."""
        points = self.scored(scale)
        best = min(self._equal(points) or points, key=lambda one: self.distance(one).value)
        return lambda one: -math.inf if one == best else self.distance(one).value

    def _equal(self, points: Sequence[Measured]) -> list[Measured]:
        """Return the points whose distance is within the interval of the lowest by all features."""
        highest = {
            name: min((one.distances[name] for one in points), key=lambda d: d.value).highest
            for name in self.features
        }
        return [
            one
            for one in points
            if all(one.distances[name].value <= most for name, most in highest.items())
        ]


def by_scale(points: Iterable[Measured]) -> dict[float, list[Measured]]:
    """Group points by their scale, since those of different scales are not compared."""
    groups: dict[float, list[Measured]] = {}
    for one in points:
        groups.setdefault(one.scale, []).append(one)
    return groups


def on_frontier(
    points: Sequence[T], seconds: Callable[[T], float], cost: Callable[[T], float]
) -> list[T]:
    """Return the points that no other one beats in both time and cost, the fastest first."""
    frontier: list[T] = []
    lowest = math.inf
    for each in sorted(points, key=lambda one: (seconds(one), cost(one))):
        if cost(each) < lowest:
            frontier.append(each)
            lowest = cost(each)
    return frontier


def round_up(seconds: float) -> float:
    """Return a time that is not shorter, with two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(seconds)) + 1 - DIGITS)
    return float(f"{math.ceil(seconds / unit) * unit:.{DIGITS}g}")


def spoken(seconds: float) -> str:
    """Return a time in words: 1.52 s, 49 ms or 0.31 ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def options(settings: Mapping[str, Value]) -> str:
    """Return settings as options of `adm sample`."""
    words = list[str]()
    for name, value in settings.items():
        quoted = shlex.quote(as_text(value))
        words += [f"--{name}", quoted] if name in OPTIONS else ["--set", f"{name}={quoted}"]
    return " ".join(words)


def save(frontier: Frontier, path: Path) -> None:
    """Write a frontier, atomically."""
    write_text(path, json.dumps(asdict(frontier), indent=1, allow_nan=False) + "\n")


def load(path: Path) -> Frontier:
    """Read a file of `save`.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        return as_type(Frontier, read_json(path))
    except ValueError as error:
        raise ValueError(
            f"{shown_path(path)} is damaged ({error}); run `adm frontier` again"
        ) from None


def file_of(model: Path) -> Path:
    """Return the file with the frontier of a model: the user's own, or that of the package."""
    own = measurement(model, NAME)
    return own if own.is_file() else sidecar_path(model, NAME)


def check_models(frontier: Frontier, path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ValueError unless a frontier was measured with the models of a manifest.

    Args:
        path: of the frontier.
    """
    for kind in ("model", "classifier", "weak"):
        measured, used = getattr(frontier, kind), manifest.get(kind)
        if measured is None or used is None or measured == used["sha256"]:
            continue
        raise ValueError(
            f"{shown_path(path)} was measured with another {kind} than {used['file']} of "
            f"{used['trained_steps']:,} steps; run `adm frontier` again, or choose the settings"
        )
