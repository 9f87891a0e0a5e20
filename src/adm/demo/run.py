"""Shipped, scales -> Sweep; Sweep, cache folder -> Demo: its columns and their animation."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.cached import Cached
from adm.demo.judge import Reference, Scores, load_reference, score
from adm.generation.animation import animation, cost
from adm.generation.cache import claim_cache
from adm.generation.folder import holds, sample_into
from adm.generation.generator import identity
from adm.generation.job import Job
from adm.generation.labels import positive
from adm.models.load import load_classifier, load_diffusion
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers.words import changed, to_json
from adm.sweep.plan import Sweep

SHOWN = 4  # samples per class and scale in the report
ANIMATED = 2.0  # the scale whose samples are animated, or the nearest to it

OnStep = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class Shipped:
    """The models that come with the package, and the judge's measurements of real images."""

    model: DiffusionModel
    classifier: ClassifierModel
    judge: ClassifierModel
    reference: Reference


@dataclass(frozen=True, eq=False)
class Column:
    """All samples of one scale; image i of every scale starts from the same noise."""

    scale: float
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,)
    scores: Scores


def shipped(device: torch.device | str = "cpu") -> Shipped:
    """Load the shipped models; the judge stays on the CPU."""
    return Shipped(
        model=load_diffusion("fashion", device),
        classifier=load_classifier("fashion-classifier", device),
        judge=load_classifier("fashion-judge"),
        reference=load_reference(SHIPPED / "fashion-reference.npz"),
    )


def preset(models: Shipped, scales: Sequence[float], per_class: int, **settings: Any) -> Sweep:
    """Return the sweep of the demo: the shipped model at each scale, with its recipe's settings.

    Args:
        per_class: images of each class at each scale, at least 2.
        settings: settings to change, by name; see `adm.samplers.words.changed`.

    Raises:
        ValueError: `per_class` is less than 2, or the model cannot be sampled with `settings`.
    """
    if per_class < 2:
        raise ValueError(f"per_class=... must be at least 2, to measure diversity, got {per_class}")
    base = changed(models.model.recipe.sample, **settings)
    classes = len(models.model.classes)
    positive("per_class=... times the number of classes", per_class * classes)
    labels = [label for label in range(classes) for _ in range(per_class)]
    sweep = Sweep(
        models.model,
        models.classifier,
        base,
        labels=labels,
        count=len(labels),
        samplers=(base.sampler.name,),
        steps=(base.grid.steps,),
        scales=tuple(scales),
    )
    sweep.check()
    return sweep


@dataclass(frozen=True, eq=False)
class Demo:
    """What the report shows.

    Attributes:
        columns: one for each scale.
        animated: the scale of `film`.
        film: GIF of the first samples of each class at every step, from noise to image.
        seconds: how long sampling and scoring took; None if it was interrupted.
    """

    models: Shipped
    sweep: Sweep
    columns: list[Column]
    animated: float
    film: bytes
    seconds: float | None


def manifest(models: Shipped, sweep: Sweep) -> dict[str, Any]:
    """Everything that the samples and scores of a demo depend on, as JSON values."""
    return {
        "model": identity(models.model),
        "classifier": identity(models.classifier),
        "judge": identity(models.judge),
        "sampling": to_json(sweep.base),
        "scales": list(sweep.scales),
        "per_class": sweep.count // len(sweep.classes),
    }


def evaluations(sweep: Sweep) -> int:
    """Return the number of network evaluations of a demo, those of its animation included."""
    total = sum(sweep.job(point).evaluations for point in sweep.points)
    return total + cost(_animated(sweep)[1], SHOWN)


def run(models: Shipped, sweep: Sweep, cache: Path, on_step: OnStep | None = None) -> Demo:
    """Sample, score and animate the points of a sweep.

    Args:
        cache: locked folder that keeps finished batches, so that the same call resumes after an
            interruption; emptied first if it is of another demo. The caller empties it.
        on_step: called after every step with the number of images in the block, and a note.
    """
    claim_cache(cache, manifest(models, sweep))
    resumes = any(each.is_dir() for each in cache.iterdir())
    started = time.monotonic()
    made = list(columns(models, sweep, cache, on_step))
    seconds = None if resumes else time.monotonic() - started
    scale, job = _animated(sweep)
    images = next(column.images for column in made if column.scale == scale)
    told = None if on_step is None else lambda count: on_step(count, "animation")
    film = animation([(job, images)], told, SHOWN)
    return Demo(models, sweep, made, scale, film, seconds)


def columns(
    models: Shipped, sweep: Sweep, cache: Path, on_step: OnStep | None = None
) -> Iterator[Column]:
    """Sample and score the points of a sweep, one scale after another; see `run`."""
    labels = torch.tensor(sweep.labels)
    for point in sweep.points:
        job, place = sweep.job(point), cache / point.name

        def told(images: int, scale: float = point.scale) -> None:
            if on_step is not None:
                on_step(images, f"scale {scale:g}")

        if holds(place, job):
            told(Cached(job.evaluations))
        # With the strides of images in memory, which the judge's kernels depend on.
        images = sample_into(place, job, on_step=told).clone(memory_format=torch.contiguous_format)
        scores = score(models.judge, models.reference, images, labels)
        yield Column(point.scale, images, labels, scores)


def _animated(sweep: Sweep) -> tuple[float, Job]:
    """Return the scale whose samples are animated, and its job."""
    point = min(sweep.points, key=lambda point: abs(point.scale - ANIMATED))
    return point.scale, sweep.job(point)
