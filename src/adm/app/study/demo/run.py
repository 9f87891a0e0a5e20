"""Shipped, scales -> Sweep; Sweep, cache folder -> Demo: columns, an animation, a cascade."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.study.demo import CASCADE
from adm.app.study.demo.cascade import (
    Cascade,
    CascadeModels,
    cascade_job,
    cascade_models,
    sample_cascade,
)
from adm.app.study.demo.judge import Reference, Scores, load_reference, score
from adm.app.study.demo.sampled import sampled
from adm.app.study.plan import Sweep
from adm.data.naming import MANIFEST
from adm.generation.animation import animation, cost
from adm.generation.generator import Cost, identity
from adm.generation.job import Job
from adm.generation.labels import positive
from adm.models.load import load_classifier, load_diffusion
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers.words import changed, to_json
from adm.store.files import empty, write_json
from adm.store.parsed import cached_json, through_json

SHOWN = 4  # samples per class and scale in the report
STUDENT = "fashion-fast"
ANIMATED = 2.0  # the scale whose samples are animated, or the nearest to it

OnStep = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class Shipped:
    """The models that come with the package, and the judge's measurements of real images.

    Attributes:
        student: distilled from the model and its classifier; takes fewer steps.
        cascade: those of emoji, in colour.
    """

    model: DiffusionModel
    classifier: ClassifierModel
    student: DiffusionModel
    judge: ClassifierModel
    reference: Reference
    cascade: CascadeModels


@dataclass(frozen=True, eq=False)
class Column:
    """All samples of one scale; image i of every scale starts from the same noise.

    Attributes:
        steps: noise levels that were visited.
        cost: calls of the networks for each image.
        seconds: how long sampling took; None if some of it was done by an interrupted command.
    """

    scale: float
    steps: int
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,)
    scores: Scores
    cost: Cost
    seconds: float | None


def shipped(device: torch.device | str = "cpu") -> Shipped:
    """Load the shipped models; the judge stays on the CPU."""
    return Shipped(
        model=load_diffusion("fashion", device),
        classifier=load_classifier("fashion-classifier", device),
        student=load_diffusion(STUDENT, device),
        judge=load_classifier("fashion-judge"),
        reference=load_reference(SHIPPED / "fashion-reference.npz"),
        cascade=cascade_models(device),
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


def students(models: Shipped, sweep: Sweep) -> list[Sweep]:
    """Return the sweep of the student over its steps, at the scale that is animated.

    Images, labels and noise are those of `sweep`. There is none at a scale that the student did not
    learn.
    """
    how, scale = models.student.recipe.distillation, _animated(sweep)[0]
    assert how is not None
    low, high = how.scales
    if not low <= scale <= high:
        return []
    base = changed(models.student.recipe.sample, seed=sweep.base.seed)
    steps = tuple(sorted(how.steps, reverse=True))
    own = replace(
        sweep,
        model=models.student,
        classifier=None,
        base=base,
        samplers=(base.sampler.name,),
        steps=steps,
        scales=(scale,),
    )
    return [own]


@dataclass(frozen=True, eq=False)
class Demo:
    """What the report shows.

    Attributes:
        columns: one for each scale.
        distilled: one for each number of steps of the student, at the scale `animated`; none if it
            did not learn that scale.
        animated: the scale of `film`.
        film: GIF of the first samples of each class at every step, from noise to image.
        seconds: how long sampling and scoring of the columns took; None if it was interrupted.
        cascade: emoji of every class.
    """

    models: Shipped
    sweep: Sweep
    columns: list[Column]
    distilled: list[Column]
    animated: float
    film: bytes
    seconds: float | None
    cascade: Cascade

    @property
    def images(self) -> int:
        """Number of images of the columns."""
        return sum(len(column.labels) for column in [*self.columns, *self.distilled])


def manifest(models: Shipped, sweep: Sweep) -> dict[str, Any]:
    """Everything that the samples and scores of a demo depend on, as JSON values."""
    return {
        "model": identity(models.model),
        "classifier": identity(models.classifier),
        "student": identity(models.student),
        "judge": identity(models.judge),
        "cascade": models.cascade.manifest(),
        "sampling": to_json(sweep.base),
        "scales": list(sweep.scales),
        "per_class": sweep.count // len(sweep.classes),
    }


def evaluations(models: Shipped, sweep: Sweep) -> int:
    """Return the number of network evaluations of a demo, those of its animation included."""
    plans = [sweep, *students(models, sweep)]
    jobs = [plan.job(point) for plan in plans for point in plan.points]
    jobs.append(cascade_job(models.cascade, sweep.base))
    return sum(job.evaluations for job in jobs) + cost(_animated(sweep)[1], SHOWN)


def run(models: Shipped, sweep: Sweep, cache: Path, on_step: OnStep | None = None) -> Demo:
    """Sample, score and animate the points of a sweep.

    Args:
        cache: locked folder that keeps finished batches, so that the same call resumes after an
            interruption; emptied first if it is of another demo. The caller empties it.
        on_step: called after every step with the number of images in the block, and a note.
    """
    _claim(cache, manifest(models, sweep))
    resumes = any(each.is_dir() for each in cache.iterdir())
    started = time.monotonic()
    made = list(columns(models, sweep, cache, on_step))
    distilled = [
        column
        for own in students(models, sweep)
        for column in columns(models, own, cache / STUDENT, on_step)
    ]
    seconds = None if resumes else time.monotonic() - started
    scale, job = _animated(sweep)
    images = next(column.images for column in made if column.scale == scale)
    film = animation(job, images, _noted(on_step, "animation"), SHOWN)
    larger = cascade_job(models.cascade, sweep.base)
    emoji = sample_cascade(larger, cache / CASCADE, _noted(on_step, "emoji, a cascade"))
    return Demo(models, sweep, made, distilled, scale, film, seconds, emoji)


def _claim(cache: Path, asked: dict[str, Any]) -> None:
    """Empty a locked folder of cached samples unless it is of the same demo."""
    note = cache / MANIFEST
    if cached_json(note) != through_json(asked):
        empty(cache)
        write_json(note, asked)


def columns(
    models: Shipped, sweep: Sweep, cache: Path, on_step: OnStep | None = None
) -> Iterator[Column]:
    """Sample and score the points of a sweep, one scale after another; see `run`."""
    labels = torch.tensor(sweep.labels)
    cache.mkdir(exist_ok=True)
    for point in sweep.points:
        job, note = sweep.job(point), f"scale {point.scale:g}, {point.steps} steps"
        told = _noted(on_step, f"{sweep.model.name}, {note}")
        images, seconds = sampled(job, cache / point.name, told)
        scores = score(models.judge, models.reference, images, labels)
        yield Column(point.scale, point.steps, images, labels, scores, job.cost, seconds)


def _noted(on_step: OnStep | None, note: str) -> Callable[[int], None] | None:
    """Return the callback of one part of a demo, which adds its note."""
    if on_step is None:
        return None
    return lambda images: on_step(images, note)


def _animated(sweep: Sweep) -> tuple[float, Job]:
    """Return the scale whose samples are animated, and its job."""
    point = min(sweep.points, key=lambda point: abs(point.scale - ANIMATED))
    return point.scale, sweep.job(point)
