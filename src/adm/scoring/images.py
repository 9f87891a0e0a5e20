"""Source, model, Samples, Job -> the images to score, as they are compared."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adm.data import Source
from adm.data.fitting import at_one_size
from adm.data.registry import find
from adm.data.source import in_memory
from adm.generation.folder import range_of
from adm.generation.inputs import Opened
from adm.generation.job import Job
from adm.generation.samples import Samples
from adm.images import UINT8, to_uint8
from adm.models.trained import TrainedModel
from adm.spec import SettingError, literal, out_of_range

log = logging.getLogger("adm")


def images_for(model: TrainedModel[Any, Any], data: str, split: str | Sequence[str]) -> Source:
    """Open images as a model was trained on them: files are resized, arrays are padded.

    Args:
        split: as of `find`.

    Raises:
        ValueError: no such data, or images of another shape.
    """
    source = find(data, split=split)
    channels, *size = model.shape
    converted = channels
    if source.files is None:
        converted, (_, height, width) = None, source.shape
        if height > size[0] or width > size[1]:
            check_shape(source, model)  # arrays are padded, and not resized
    source = at_one_size(source, size=(size[0], size[1]), channels=converted, stored=model.range)
    check_shape(source, model)
    return source


def check_shape(source: Source, model: TrainedModel[Any, Any]) -> None:
    """Raise SettingError unless the images have the shape of those of a model."""
    if source.shape != model.shape:
        own, theirs = ("x".join(map(str, each)) for each in (source.shape, model.shape))
        raise SettingError(
            "data",
            f"{{}} has images of {own} (channels, height, width), and {literal(model.name)} takes "
            f"{theirs}; give a folder of image files, which are resized and cropped",
        )


def relabelled(source: Source, classes: tuple[str, ...]) -> Source | None:
    """Return the images of these classes with their labels, by name; None if it has none of them.

    Classes that are numbers, as those of released files, are taken in their order.
    """
    place = {name.casefold(): label for label, name in enumerate(classes)}
    known = [place.get(name.casefold(), -1) for name in source.classes]
    if max(known) < 0:
        if len(known) != len(classes) or not all(name.isdigit() for name in classes):
            return None
        known = list(range(len(classes)))
    labels = torch.tensor(known)[source.labels]
    matched = torch.nonzero(labels >= 0)[:, 0]
    return replace(source.subset(matched.numpy()), classes=classes, labels=labels[matched])


def open_samples(samples: Samples | Job) -> Opened:
    """Return the images of samples in memory; or those of a job, sampled when they are read.

    The images of a job are those of its sample folder. No batch stays in memory after its use.
    """
    if isinstance(samples, Samples):
        manifest = samples.job.manifest()
        classes, labels = _labelled(samples.classes, samples.labels, len(samples))
        source = in_memory("samples", classes, samples.images, labels)
        return Opened(replace(source, range=range_of(manifest)), manifest)
    classes, labels = _labelled(samples.generator.classes, samples.label_tensor, samples.count)
    manifest = samples.manifest()
    images = samples.images
    return Opened(Source("samples", classes, labels, images, range=range_of(manifest)), manifest)


def _labelled(
    classes: tuple[str, ...], labels: Tensor | None, count: int
) -> tuple[tuple[str, ...], Tensor]:
    """Return classes and labels; one class for all if there are no labels."""
    if labels is None:
        return ("all",), torch.zeros(count, dtype=torch.int64)
    return classes, labels


def first(source: Source, count: int) -> Source:
    """Return the first `count` images.

    Raises:
        SettingError: `count` is less than 2, or more than the number of images.
    """
    if not 2 <= count <= len(source):
        raise out_of_range(
            "count", f"from 2 to {len(source)}, the number of images of {source.name}", count
        )
    return source.subset(np.arange(count))


def resize_to(source: Source, size: tuple[int, int]) -> Source:
    """Resize images to (H, W) without cropping: bicubic, antialiased, rounded to nearest."""

    def at_size(images: Tensor) -> Tensor:
        resized = F.interpolate(images.float(), size, mode="bicubic", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    def read(indices: list[int]) -> Tensor:
        return at_size(to_uint8(source.batch(indices)[0]))

    names = None if source.path(0) is None else lambda index: str(source.path(index))
    return replace(source, images=read, rows=None, names=names, range=UINT8)
