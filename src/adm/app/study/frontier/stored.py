"""frontier.json <-> Frontier: what every point took and gave, and on which machine."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adm.app.study.study import Point, Value, as_text
from adm.generation.labels import MOST_IMAGES
from adm.models.paths import SHIPPED, beside
from adm.shown import shown_path
from adm.store.files import user_cache, write_text
from adm.store.parsed import as_type, read_json

NAME = "frontier"  # of its file beside a model
FILE = f"{NAME}.json"  # in a frontier folder
# Settings with an option of `adm sample`; --set takes the others.
OPTIONS = ("scale", "steps", "sampler", "grid", "guide", "truncation", "seed", "precision")
MOST_POINTS, MOST_FEATURES = 100_000, 100
MOST_BYTES = 1 << 26

Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Calls = Annotated[int, Field(ge=0, le=10**9)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=1000)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Setting = Annotated[str, Field(max_length=1000)] | bool | int | Finite | None


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance with its 95% interval; None if that is unknown."""

    value: Finite
    low: Finite | None = None
    high: Finite | None = None

    @property
    def highest(self) -> float:
        """The upper end of the interval, or the value."""
        return self.value if self.high is None else max(self.value, self.high)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point with what was measured.

    Attributes:
        settings: of sampling, by name.
        seconds: of an image, the median of several measurements.
        low, high: the lowest and the highest of them.
        network, classifier: calls of each for an image.
        error: root mean square error against the converged images, of pixels in [-1, 1]; None if
            sampling gave NaN or infinity.
        distances: features -> Fréchet distance of all images; empty for a point that was left out
            after the first pass.
    """

    settings: Annotated[dict[Word, Setting], Field(max_length=50)]
    seconds: Seconds
    low: Seconds
    high: Seconds
    network: Calls
    classifier: Calls
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    distances: dict[Word, Distance]

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


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Time against quality of a model on one machine.

    Attributes:
        model, classifier: hashes of the network and of the classifier that guides it; see
            `adm.generation.generator.identity`.
        machine: that it was measured on.
        shared: the settings that all points share, by name.
        count, trial_count: images of a point in the second pass, and in the first.
        features: that distances are measured in; the first decides what is best.
        points: all of them, those that were left out after the first pass included.
        notes: on the measurements.
    """

    model: Hash
    classifier: Hash | None
    machine: Text
    shared: dict[Word, Setting]
    count: Annotated[int, Field(ge=2, le=MOST_IMAGES)]
    trial_count: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    features: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MOST_FEATURES)]
    points: Annotated[tuple[Measured, ...], Field(min_length=1, max_length=MOST_POINTS)]
    notes: Annotated[tuple[Text, ...], Field(max_length=100)] = ()

    def __post_init__(self) -> None:
        names = set(self.features)
        for each in self.points:
            if each.distances and set(each.distances) != names:
                raise ValueError(f"point {each.point.name} has no distance by one of the features")
        if not any(each.distances for each in self.points):
            raise ValueError("no point has a distance")

    @property
    def scales(self) -> list[float]:
        return sorted({each.scale for each in self.points})

    def at(self, scale: float) -> list[Measured]:
        """Return the points of a scale."""
        return [each for each in self.points if each.scale == scale]

    def scored(self, scale: float) -> list[Measured]:
        """Return the points of a scale whose distance was measured."""
        return [each for each in self.at(scale) if each.distances]


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
        ValueError: there is no such file, or it is damaged.
    """
    try:
        return as_type(Frontier, read_json(path, limit=MOST_BYTES))
    except FileNotFoundError:
        raise ValueError(f"{shown_path(path)} does not exist; run `adm frontier` first") from None
    except ValueError as error:
        raise ValueError(
            f"{shown_path(path)} is damaged ({error}); run `adm frontier` again"
        ) from None


def place(model: Path) -> Path:
    """Return where the frontier of a model file is stored: beside it, or in the user's folder."""
    if model.parent == SHIPPED:
        return user_cache("measured") / f"{model.stem}.{FILE}"
    return beside(model, NAME)


def file_of(model: Path) -> Path:
    """Return the file with the frontier of a model: the user's own, or that of the package."""
    own = place(model)
    return own if own.is_file() or model.parent != SHIPPED else beside(model, NAME)


def check_models(frontier: Frontier, path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ValueError unless a frontier was measured with the models of a manifest.

    Args:
        path: of the frontier.
    """
    for kind, measured in (("model", frontier.model), ("classifier", frontier.classifier)):
        used = manifest.get(kind)
        if measured is None or used is None or measured == used["sha256"]:
            continue
        raise ValueError(
            f"{shown_path(path)} was measured with another {kind} than {used['file']} of "
            f"{used['trained_steps']:,} steps; run `adm frontier` again, or choose the settings"
        )
