"""Models, samplers, steps, scales -> Sweep: its points, and a sample folder for each.

A point is a combination of sampler, steps and scale. Image i has the same label and starts from the
same noise at every point.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from adm.cached import Cached
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import check, sample_into
from adm.generation.job import Job
from adm.generation.labels import positive
from adm.generation.manifest import read_manifest
from adm.models.pair import classes_of
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.processes import Devices
from adm.samplers import Sampling
from adm.samplers.words import changed, to_json
from adm.shown import exactly
from adm.store.files import remove, work_path
from adm.store.parsed import through_json

SCALE = "scale"  # the setting that varies by default
SAMPLES = "samples"  # in the sweep folder; holds a sample folder for each point


class Named(Protocol):
    """A point: settings whose name is that of its sample folder."""

    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=Named)


class Pictured(Protocol):
    """A model that makes images of one shape."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...


class Plan(Protocol[P]):
    """Points to sample and score: a `Sweep`, or another set of points."""

    @property
    def model(self) -> Pictured: ...

    @property
    def labels(self) -> list[int] | None:
        """(count,) one label per image; None for a model without classes."""
        ...

    @property
    def count(self) -> int:
        """Images per point."""
        ...

    @property
    def points(self) -> list[P]: ...

    def job(self, point: P) -> Job:
        """Return the job of one point."""
        ...


class Point(NamedTuple):
    """One combination of sampler, steps and scale.

    Attributes:
        axis: the setting whose value the scale is, such as `free_scale`.
    """

    sampler: str
    steps: int
    scale: float
    axis: str = SCALE

    @property
    def name(self) -> str:
        axis = self.axis.replace("_", "-")
        return f"{self.sampler}-{self.steps}-{axis}{exactly(self.scale)}"

    @property
    def at(self) -> str:
        """The scale in words, such as `free scale 2`."""
        return f"{spoken(self.axis)} {exactly(self.scale)}"


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is to be sampled: every combination of samplers, steps and scales is a point.

    Attributes:
        base: the settings that all points share.
        labels: (count,) one label per image; None for a model without classes.
        count: images per point.
        samplers: names of the samplers.
        steps: numbers of sampling steps.
        scales: guidance scales, values of `axis`.
        axis: the setting that they are of: `scale`, or that of a guidance without a classifier.
        weak: the weak model of autoguidance, if there is that.
    """

    model: DiffusionModel
    classifier: ClassifierModel | None
    base: Sampling
    labels: list[int] | None
    count: int
    samplers: tuple[str, ...]
    steps: tuple[int, ...]
    scales: tuple[float, ...]
    axis: str = SCALE
    weak: DiffusionModel | None = None

    @property
    def by_classifier(self) -> bool:
        """Whether a classifier guides at any point."""
        return any(self.scales) if self.axis == SCALE else bool(self.base.by_classifier)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labels."""
        return classes_of(self.model, self.classifier)

    @property
    def told(self) -> bool:
        """Whether the model itself is told the labels."""
        return self.base.use_labels and self.model.network.config.classes is not None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all points share, as JSON values."""
        return to_json(self.base)

    @property
    def points(self) -> list[Point]:
        """All points; the scale varies fastest, then the steps."""
        return [
            Point(sampler, steps, scale, self.axis)
            for sampler in self.samplers
            for steps in self.steps
            for scale in self.scales
        ]

    def job(self, point: Point) -> Job:
        """Return the job of one point."""
        settings = {"sampler": point.sampler, "steps": point.steps, self.axis: point.scale}
        return job_of(self, changed(self.base, **settings), self.weak)

    def check(self) -> None:
        """Raise ValueError if any point cannot be sampled or scored."""
        names = ("samplers", "steps", "scales")
        check_values({name: getattr(self, name) for name in names}, self.count)
        for point in self.points:
            self.job(point)


def check_values(swept: Mapping[str, Sequence[object]], count: int) -> None:
    """Raise ValueError unless values that vary are different, and a point has images enough.

    Args:
        swept: the values by the name of their setting.
        count: images per point.
    """
    for name, given in swept.items():
        if not given or len(set(given)) != len(given):
            raise ValueError(f"{name} must be one or more different values, got {given}")
    if positive("count", count) < 2:
        raise ValueError(f"count must be at least 2, got {count}; scores need two images")


def spoken(axis: str) -> str:
    """Return a setting in words, such as `free scale`."""
    return axis.replace("_", " ")


class Guided(Protocol):
    """What points of a diffusion model have in common."""

    @property
    def model(self) -> DiffusionModel: ...

    @property
    def classifier(self) -> ClassifierModel | None: ...

    @property
    def labels(self) -> list[int] | None: ...

    @property
    def count(self) -> int: ...


def job_of(plan: Guided, sampling: Sampling, weak: DiffusionModel | None = None) -> Job:
    """Return the job of all images of a plan with these settings.

    Without a classifier's guidance, the samples of a model that takes no labels have no labels.

    Args:
        weak: the weak model of autoguidance.
    """
    classifier = plan.classifier if sampling.by_classifier else None
    generator = DiffusionGenerator(plan.model, sampling, classifier, weak)
    return Job(generator, plan.labels if generator.classes else None, plan.count)


def balanced(classes: Sequence[int], count: int) -> list[int]:
    """Return (count,) labels that cycle through `classes`: counts differ by at most one.

    Raises:
        ValueError: `count` is out of range.
    """
    return [classes[i % len(classes)] for i in range(positive("count", count))]


# Six parameters: the last three are independent and have defaults.
def sample_point(
    sweep: Plan[P],
    point: P,
    out: Path,
    batch_size: int = 64,
    on_step: Callable[[int], None] | None = None,
    devices: Devices | None = None,
) -> Path:
    """Sample a point, unless its sample folder exists already.

    Args:
        out: the sweep folder.
        batch_size: images that are sampled between two saves; affects no image.
        on_step: called with the number of images after each step of a block; see `sample_into`.
        devices: the ranks that share the images, as in `sample_into`.

    Returns:
        The point's sample folder.

    Raises:
        ValueError: the folder holds samples of another sweep, or damaged ones.
    """
    job, place = sweep.job(point), out / SAMPLES / point.name
    devices = devices or Devices(torch.device("cpu"))
    had = devices.once(lambda: _made(place))
    if had is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        sample_into(place, job, batch_size=batch_size, on_step=on_step, devices=devices)
        return place
    wanted = through_json(job.manifest())
    odd = [key for key in wanted if not _agree(had.get(key), wanted[key])]
    if odd:
        raise ValueError(
            f"{place} holds samples that differ in {' and '.join(odd)}; choose another sweep "
            "folder, or the same settings"
        )
    devices.once(lambda: remove(work_path(place)))  # left if the sweep was killed at this point
    if on_step is not None:
        on_step(Cached(job.evaluations))
    return place


def _made(place: Path) -> dict[str, Any] | None:
    """Return the sampling manifest of a point; None if it has not been sampled."""
    try:
        check(place)
        return read_manifest(place)
    except ValueError as error:
        raise ValueError(
            f"{place} holds damaged samples ({error}); remove that folder, and the same sweep "
            "samples it again"
        ) from None


def _agree(one: Any, other: Any) -> bool:
    """Return whether two manifests agree in all common keys; keys differ by version."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[key], other[key]) for key in one.keys() & other.keys())
    return one == other
