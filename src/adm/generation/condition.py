"""DiffusionGenerator, Source -> Job of an upsampler, or of another model of image pairs."""

import torch
from torch import Tensor

from adm.data import Source
from adm.generation.cascade import translate
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.job import Job
from adm.generation.labels import Classes, labels_of, positive
from adm.images import to_float
from adm.models.trained import DiffusionModel
from adm.spec import SettingError
from adm.training.objective import area_mean


def condition_size(model: DiffusionModel, shrink: bool) -> tuple[int, int] | None:
    """Return the size in which a model's conditions are opened; None for that of their files.

    Args:
        shrink: whether they are images of the model's own size, which are shrunk then.

    Raises:
        SettingError: the model is not image-conditional.
    """
    data = model.recipe.data
    if model.low_shape is None:
        raise SettingError("condition", f"{model.name} takes no images; leave {{}} out")
    if data.paired:
        return data.low_res
    return data.size if shrink else None


def conditioned_job(
    generator: DiffusionGenerator,
    conditions: Source,
    classes: Classes | None = None,
    count: int | None = None,
    shrink: bool = False,
) -> Job:
    """Return the job that samples from images, in turn.

    Args:
        conditions: in the size of `condition_size`.
        classes, count: as of `Pipeline.job`; by default one image for each condition, of its class.
        shrink: whether to shrink them, by area averaging, as in the training of an upsampler.

    Raises:
        ValueError: images of another size, or of classes that the model does not know.
    """
    model, total = generator.model, len(conditions)
    if classes is None:
        number = total if count is None else positive("count", count)
        turns = [i % total for i in range(number)]
        labels = _own_labels(generator, conditions, turns) if generator.classes else None
    else:
        labels, number = labels_of(classes, generator.classes, count)
        turns = [i % total for i in range(number)]
    inputs = [_fitted(conditions.read(i), model, shrink) for i in range(min(number, total))]
    name = f"{conditions.name}, shrunk" if shrink else conditions.name
    return Job(generator, labels, number, torch.stack(inputs)[turns], name)


def _own_labels(
    generator: DiffusionGenerator, conditions: Source, turns: list[int]
) -> list[int] | None:
    """Return the labels of the conditions, by name; numbers without names are the model's own."""
    names, known = conditions.classes, generator.model.classes
    if names == tuple(map(str, range(len(names)))):
        if len(known) < len(names):
            raise SettingError(
                "condition",
                f"{conditions.name} has {len(names)} classes and the model {len(known)}; add "
                "{use_labels=False}, or give images of its classes",
            )
        names = known
    return translate(conditions.labels[turns].tolist(), names, generator.classes)


def _fitted(image: Tensor, model: DiffusionModel, shrink: bool) -> Tensor:
    """(C, H, W) -> (C, h, w); raise SettingError for another size."""
    shape = model.low_shape
    assert shape is not None
    if shrink:
        means = area_mean(shape[1:], rounded=False)(to_float(image)[None])
        return model.range.sampled(means)[0]
    if tuple(image.shape) != shape:
        (h, w), (height, width) = shape[1:], image.shape[1:]
        raise SettingError(
            "condition",
            f"the images of {{}} are {height}x{width}, and the upsampler {model.name} starts from "
            f"{h}x{w}; give images of that size, or add {{shrink=True}}",
        )
    return image
