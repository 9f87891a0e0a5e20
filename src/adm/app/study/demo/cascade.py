"""Models of a cascade, Sampling -> Cascade: emoji of every class, and the same images enlarged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.study.demo.sampled import sampled
from adm.generation.cascade import CascadeGenerator, cascade
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost, identity
from adm.generation.job import Job
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import Sampling
from adm.samplers.words import changed

PER_CLASS, SCALE = 2, 2.0


@dataclass(frozen=True, eq=False)
class CascadeModels:
    """A diffusion model in colour, the classifier that guides it, and its upsampler."""

    base: DiffusionModel
    classifier: ClassifierModel
    upsampler: DiffusionModel

    def manifest(self) -> dict[str, Any]:
        """Return what the images depend on besides the settings of sampling, as JSON values."""
        return {
            "model": identity(self.base),
            "classifier": identity(self.classifier),
            "upsampler": identity(self.upsampler),
            "per_class": PER_CLASS,
            "scale": SCALE,
        }


@dataclass(frozen=True, eq=False)
class Cascade:
    """Images of every class, `PER_CLASS` of each.

    Attributes:
        small: (N, C, h, w) uint8, samples of the base.
        large: (N, C, H, W) uint8, the same enlarged by the upsampler.
        labels: (N,)
        classes: names of the labels.
        cost: calls of all networks for each image.
        seconds: how long sampling took; None if some of it was done by an interrupted command.
        folder: sample folder that holds them.
    """

    small: Tensor
    large: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    cost: Cost
    seconds: float | None
    folder: Path


def cascade_models(device: torch.device | str = "cpu") -> CascadeModels:
    """Load the shipped models of emoji."""
    return CascadeModels(
        base=load_diffusion("emoji", device),
        classifier=load_classifier("emoji-classifier", device),
        upsampler=load_diffusion("emoji-upsampler", device),
    )


def cascade_job(models: CascadeModels, like: Sampling) -> Job:
    """Return the job of the large images, which starts from that of the small ones.

    Args:
        like: settings whose sampler, steps and seed are used for the base, and whose steps and seed
            for the upsampler.

    Raises:
        ValueError: a model cannot be sampled with them.
    """
    steps = like.grid.steps
    sampling = changed(
        models.base.recipe.sample,
        sampler=like.sampler.name,
        steps=steps,
        seed=like.seed,
        scale=SCALE,
    )
    generator = DiffusionGenerator(models.base, sampling, models.classifier)
    labels = [label for label in range(len(models.base.classes)) for _ in range(PER_CLASS)]
    return Job(cascade(generator, models.upsampler, labels, steps), labels, len(labels))


def sample_cascade(job: Job, folder: Path, on_step: Callable[[int], None] | None = None) -> Cascade:
    """Sample the small images, and enlarge them, into a sample folder.

    Args:
        folder: keeps finished batches beside it, so that the same call resumes.
        on_step: called after every step with the number of images in the block.
    """
    generator, labels = job.generator, job.label_tensor
    assert isinstance(generator, CascadeGenerator)
    assert labels is not None
    large, seconds = sampled(job, folder, on_step)
    return Cascade(
        small=generator.base.images(labels, range(job.count)),
        large=large,
        labels=labels,
        classes=generator.classes,
        cost=job.cost,
        seconds=seconds,
        folder=folder,
    )
