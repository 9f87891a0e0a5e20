"""Shipped, scales -> Sweep; Sweep -> Iterator[Column]."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adm.demo.judge import Reference, Scores, load_reference, score
from adm.generation.generate import generate
from adm.models.load import SHIPPED, load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers.words import changed
from adm.sweep.plan import Sweep

BATCH = 50  # images per batch


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
    labels = [label for label in range(len(models.model.classes)) for _ in range(per_class)]
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


def columns(
    models: Shipped, sweep: Sweep, on_step: Callable[[int, float], None] | None = None
) -> Iterator[Column]:
    """Sample and score the points of a sweep, one scale after another.

    Args:
        on_step: called after every step with the number of images in the batch, and the scale.
    """
    labels = torch.tensor(sweep.labels)
    for point in sweep.points:
        job = sweep.job(point)

        def told(images: int, scale: float = point.scale) -> None:
            if on_step is not None:
                on_step(images, scale)

        indices = range(sweep.count)
        batches = generate(job.generator, labels, indices, batch_size=BATCH, on_step=told)
        images = torch.cat(list(batches))
        scores = score(models.judge, models.reference, images, labels)
        yield Column(point.scale, images, labels, scores)
