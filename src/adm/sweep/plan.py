"""models, scales, samplers, steps -> samples of every combination, and a score of each.

Image i starts from the same noise at every point, and has the same label. Every point's samples
and every score are kept as soon as they exist, so that the same call goes on where it was; several
processes share the points.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.data.export import ARCHIVE
from adm.evaluation.manifest import read_made
from adm.generation.folder import MANIFEST, SampleRun, sample_into
from adm.generation.generate import SamplingSettings
from adm.models.load import ClassifierModel, DiffusionModel
from adm.samplers import SAMPLERS

SAMPLES = "samples"  # the folder of a sweep that holds a folder for each point


def exactly(scale: float) -> str:
    """The shortest text that no other scale has: 4, 0.5, 0.12345671."""
    short = f"{scale:g}"
    return short if float(short) == scale else repr(scale)


class Point(NamedTuple):
    """One combination."""

    sampler: str
    steps: int
    scale: float

    @property
    def name(self) -> str:
        return f"{self.sampler}-{self.steps}-scale{exactly(self.scale)}"


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is to be sampled.

    Attributes:
        base: what all points share.
        labels: (count,) one an image, or None for a model without classes.
        count: images a point.
        samplers, steps, scales: every combination is a point.
    """

    model: DiffusionModel
    guide: ClassifierModel | None
    base: SamplingSettings
    labels: list[int] | None
    count: int
    samplers: tuple[str, ...]
    steps: tuple[int, ...]
    scales: tuple[float, ...]

    @property
    def points(self) -> list[Point]:
        """Every combination, scale after scale of each way to sample."""
        return [
            Point(sampler, steps, scale)
            for sampler in self.samplers
            for steps in self.steps
            for scale in self.scales
        ]

    def run(self, point: Point) -> SampleRun:
        """The samples of one point.

        Without guidance, a model that is not told the class makes images of none: they are not
        labelled.
        """
        settings = replace(self.base, sampler=point.sampler, steps=point.steps, scale=point.scale)
        if point.sampler in SAMPLERS and "eta" not in signature(SAMPLERS[point.sampler]).parameters:
            settings = replace(settings, eta=0.0)
        told = settings.use_labels and self.model.network.config.classes is not None
        labels = self.labels if told or point.scale else None
        return SampleRun(self.model, self.guide, settings, labels, self.count)

    def check(self) -> None:
        """Raise ValueError for what cannot be sampled, before anything is."""
        for name in ("samplers", "steps", "scales"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise ValueError(f"{name} must be different values, at least one, got {given}")
        if self.count < 2:
            raise ValueError(f"count must be at least 2, to be scored, got {self.count}")
        for point in self.points:
            self.run(point).check()


def balanced(classes: Sequence[int], count: int) -> list[int]:
    """(count,) labels that take turns, so that no class has more than one image more."""
    return [classes[i % len(classes)] for i in range(count)]


def sampled(
    sweep: Sweep,
    point: Point,
    out: Path,
    batch_size: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """The folder with a point's samples, which are made unless they are there.

    Raises:
        ValueError: samples of another sweep are there, or a damaged manifest.
    """
    run, place = sweep.run(point), out / SAMPLES / point.name
    had = _made(place)
    if had is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        sample_into(place, run, batch_size=batch_size, on_step=on_step)
        return place
    wanted = json.loads(json.dumps(run.manifest()))
    odd = [key for key in wanted if not _agree(had.get(key), wanted[key])]
    if odd:
        raise ValueError(
            f"{place} holds samples that differ in {' and '.join(odd)}; choose another --out, or "
            "sweep as before"
        )
    if on_step is not None:
        on_step(run.evaluations)
    return place


def _made(place: Path) -> dict[str, Any] | None:
    """What a point's samples say of how they were made; None where there are none."""
    try:
        return read_made(place)
    except ValueError:
        raise ValueError(
            f"{place} holds samples whose {MANIFEST} is damaged; remove that folder, and the same "
            "command makes it again"
        ) from None


def _agree(one: Any, other: Any) -> bool:
    """Whether two manifests say the same of what both speak of: versions differ in how much."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[key], other[key]) for key in one.keys() & other.keys())
    return one == other


def images_of(place: Path) -> Tensor:
    """(N, C, H, W) uint8 of a point's folder."""
    with np.load(place / ARCHIVE, allow_pickle=False) as stored:
        return torch.from_numpy(stored["arr_0"]).permute(0, 3, 1, 2).contiguous()
