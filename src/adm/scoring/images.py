"""Data spec, Samples, Job -> Opened: a Source to score, and its sampling manifest."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adm.data import Source
from adm.data.arrays import read_arrays
from adm.data.fitting import at_one_size
from adm.data.naming import at_home
from adm.data.registry import find
from adm.data.source import in_memory
from adm.generation.folder import check
from adm.generation.job import Job
from adm.generation.labels import positive
from adm.generation.samples import Samples
from adm.models.trained import TrainedModel
from adm.spec import SettingError, literal, out_of_range
from adm.store.samples import ARCHIVE, read_manifest

log = logging.getLogger("adm")


class Opened(NamedTuple):
    """Images to score.

    Attributes:
        source: the images, read from disk on demand.
        manifest: that of their sample folder, or None.
    """

    source: Source
    manifest: dict[str, Any] | None = None


def open_images(
    spec: str,
    *,
    split: str | Sequence[str] = "train",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    labels: str | None = None,
    pad: bool = True,
    like: Source | None = None,
) -> Opened:
    """Open samples or real images.

    Args:
        spec: a sample folder, an .npz file of the released layout, or anything that `open_source`
            takes.
        split: as of `find`.
        size, channels, labels: see `open_source`.
        pad: whether to pad arrays smaller than `size` with black, as in training. Pass False for
            samples, which must be scored unchanged.
        like: what they are compared with, whose size image files have without a `size`.
    """
    path = at_home(spec)
    archive = path / ARCHIVE if path.is_dir() else path
    manifest, is_samples = None, archive.name == ARCHIVE and archive.is_file()
    if is_samples:  # of a sample folder, whose parts must be intact
        check(archive.parent)
        manifest = read_manifest(archive.parent)
    is_npz = archive.suffix.lower() == ".npz" and archive.is_file()
    if is_npz and labels is None and "train" in ([split] if isinstance(split, str) else split):
        classes = tuple(manifest.get("classes", ())) if manifest else ()
        source = read_arrays(archive, classes=classes or None)
        name = path.resolve().name if path.is_dir() else source.name
        pngs = archive.parent.glob("*_*.png") if is_samples else ()
        numbered = {file.stem.rpartition("_")[2]: str(file) for file in pngs}
        files = {int(number): file for number, file in numbered.items() if number.isdecimal()}
        complete = files.keys() == {*range(len(source))}
        source = replace(source, name=name, names=files.__getitem__ if complete else source.names)
    else:
        manifest, source = None, find(spec, split=split, labels=labels)
    if source.files is None and not pad:
        _check_unpadded(source, size)
    if size is None and like and source.files is not None:
        size = like.shape[1:]
    source = at_one_size(source, size=size, channels=channels)
    return Opened(source, manifest)


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
    source = at_one_size(source, size=(size[0], size[1]), channels=converted)
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
        return Opened(in_memory("samples", classes, samples.images, labels), manifest)
    classes, labels = _labelled(samples.generator.classes, samples.label_tensor, samples.count)
    return Opened(Source("samples", classes, labels, samples.images), samples.manifest())


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


def read_first(source: Source, count: int | None) -> Tensor:
    """Read the first `count` images, or all: (N, C, H, W) uint8."""
    number = len(source) if count is None else positive("count", count)
    return source.batch(range(len(source))[:number])[0]


def resize_to(source: Source, size: tuple[int, int]) -> Source:
    """Resize images to (H, W) without cropping: bicubic, antialiased, rounded to nearest."""

    def at_size(images: Tensor) -> Tensor:
        resized = F.interpolate(images.float(), size, mode="bicubic", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    def read(indices: list[int]) -> Tensor:
        return at_size(source.batch(indices)[0])

    names = None if source.path(0) is None else lambda index: str(source.path(index))
    return replace(source, images=read, rows=None, names=names)


def _check_unpadded(source: Source, size: tuple[int, int] | None) -> None:
    """Raise SettingError for arrays of another size than `size`, which applies to image files."""
    own = source.read(0).shape[1:]
    if size is not None and tuple(own) != size:
        raise SettingError(
            "size",
            f"{{}} resizes image files, and {literal(source.name)} is an array of "
            f"{own[0]}x{own[1]} images; resize them by {{resize=to-reference}}",
        )
