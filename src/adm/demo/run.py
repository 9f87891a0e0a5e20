"""shipped models, scales, seed -> samples at every scale, and what the judge says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adm.demo.judge import Reference, Scores, load_reference, score
from adm.generation.generate import DiffusionGenerator, generate
from adm.models.load import SHIPPED, load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import Sampling


@dataclass(frozen=True, eq=False)
class Shipped:
    """The models that come with the package, and the judge's view of real images."""

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
    return Shipped(
        model=load_diffusion("fashion", device),
        classifier=load_classifier("fashion-classifier", device),
        judge=load_classifier("fashion-judge"),
        reference=load_reference(SHIPPED / "fashion-reference.npz"),
    )


def column(
    models: Shipped,
    sampling: Sampling,
    per_class: int,
    on_step: Callable[[int], None] | None = None,
) -> Column:
    """Sample `per_class` images of every class at one scale, and score them."""
    classes = len(models.model.classes)
    labels = torch.arange(classes).repeat_interleave(per_class)
    generator = DiffusionGenerator(models.model, sampling, models.classifier)
    indices = range(len(labels))
    batches = generate(generator, labels, indices, batch_size=classes * 5, on_step=on_step)
    images = torch.cat(list(batches))
    return Column(
        sampling.scale, images, labels, score(models.judge, models.reference, images, labels)
    )
