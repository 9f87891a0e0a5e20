"""frontier.json <-> Frontier: what every point took and gave, on which machine; without torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from adm.app.study.frontier.point import Point, Word
from adm.generation.labels import MOST_IMAGES
from adm.limits import MOST_STEPS
from adm.shown import shown_path
from adm.store.files import write_text
from adm.store.hashes import sha256
from adm.store.parsed import as_type, read_json

NAME = "frontier"  # of its file beside a model
FILE = f"{NAME}.json"  # in a frontier folder
MOST_POINTS, MOST_FEATURES = 100_000, 100
MOST_BYTES = 1 << 26

Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Calls = Annotated[int, Field(ge=0, le=10**9)]
Text = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True)
class Machine:
    """What the speed of a network depends on.

    Attributes:
        processor: name of the processor, or of the accelerator.
        threads: threads of an operation on the processor.
        torch: version of torch.
    """

    processor: Text
    threads: Annotated[int, Field(ge=1, le=10**6)]
    torch: Text

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.processor}, {threads}, torch {self.torch}"


@dataclass(frozen=True)
class Timing:
    """Seconds an image: the median of several measurements, the lowest and the highest."""

    median: Seconds
    low: Seconds
    high: Seconds
    repeats: Annotated[int, Field(ge=1, le=10**6)]


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance with its 95% interval; None if that is unknown."""

    value: Finite
    low: Finite | None
    high: Finite | None

    @property
    def highest(self) -> float:
        """The upper end of the interval, or the value."""
        return self.value if self.high is None else max(self.value, self.high)


@dataclass(frozen=True)
class Measured:
    """A point with what was measured.

    Attributes:
        network, classifier: calls of each for an image.
        timing: seconds an image.
        error: root mean square error against the converged images, of pixels in [-1, 1]; None for
            a sampler that draws noise, whose images converge to no others, or if it diverged.
        diverged: whether sampling gave NaN or infinity.
        distances: features -> Fréchet distance of all images; empty for a point that was pruned
            after the first pass.
    """

    point: Point
    network: Calls
    classifier: Calls
    timing: Timing
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    diverged: bool
    distances: dict[Word, Distance]

    @property
    def seconds(self) -> float:
        return self.timing.median


@dataclass(frozen=True)
class Network:
    """What identifies a trained network; see `adm.generation.generator.identity`."""

    recipe: Text
    file: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    trained_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    ema_decay: Finite | None = None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The settings that all points share, by the options of `adm sample`; None for the recipe's."""

    start: Annotated[int, Field(ge=1)] | None = None
    without_label: bool = False
    guide_interval: Annotated[tuple[int, ...], Field(min_length=2, max_length=2)] | None = None
    guide_every: Annotated[int, Field(ge=1)] | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that differ from the recipe's."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    @property
    def options(self) -> str:
        """The options of `adm sample` that set them."""
        words: list[str] = []
        for name, value in self.given.items():
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Time against quality of a model on one machine.

    Attributes:
        model, classifier: the network, and the classifier that guides it.
        machine: that it was measured on.
        versions: of the packages.
        shared: the settings that all points share.
        count, trial_count: images of a point in the second pass, and in the first.
        features: that distances are measured in; the first decides what is best.
        points: all of them, those that were pruned included.
        auto_precision: whether their precision was chosen as the fastest on the machine.
        notes: on the measurements.
    """

    format: Literal[1] = 1
    model: Network
    classifier: Network | None
    machine: Machine
    versions: dict[Word, Text]
    shared: Shared
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    count: Annotated[int, Field(ge=2, le=MOST_IMAGES)]
    trial_count: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    features: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MOST_FEATURES)]
    points: Annotated[tuple[Measured, ...], Field(min_length=1, max_length=MOST_POINTS)]
    auto_precision: bool = False
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
        return sorted({each.point.scale for each in self.points})

    def at(self, scale: float) -> list[Measured]:
        """Return the points of a scale."""
        return [each for each in self.points if each.point.scale == scale]


def save(frontier: Frontier, path: Path) -> None:
    """Write frontier.json, atomically."""
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


def check_model(frontier: Frontier, path: Path, model: Path, classifier: Path | None) -> None:
    """Raise ValueError unless a frontier was measured with these models.

    Args:
        path: of the frontier.
        model, classifier: model files; None for the classifier that belongs to the model.
    """
    pairs: dict[str, tuple[Network | None, Path | None]] = {
        "model": (frontier.model, model),
        "classifier": (frontier.classifier, classifier),
    }
    for kind, (measured, file) in pairs.items():
        if measured is None or file is None or measured.sha256 == sha256(file):
            continue
        raise ValueError(
            f"{shown_path(path)} was measured with another {kind}, {measured.file} of "
            f"{measured.trained_steps:,} steps; run `adm frontier` with {shown_path(file)}, or "
            "choose the settings"
        )


def network_of(identity: dict[str, Any]) -> Network:
    """Return the network that an entry of a manifest identifies."""
    return as_type(Network, identity)
