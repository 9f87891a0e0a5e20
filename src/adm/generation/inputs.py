"""Paths, PIL images, arrays, tensors, Samples -> the images or measurements to start from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from adm.data import Source
from adm.data.arrays import check_images, read_arrays
from adm.data.fitting import at_one_size
from adm.data.naming import at_home
from adm.data.pixels import MODES, cover, to_tensor, with_channels
from adm.data.registry import find
from adm.data.source import of_arrays
from adm.generation.folder import check, range_of
from adm.generation.labels import positive
from adm.generation.samples import Samples
from adm.images import UINT8, Range
from adm.spec import SettingError, literal, out_of_range
from adm.store.arrays import load_array
from adm.store.samples import ARCHIVE, read_manifest

MEMORY = "memory"  # the name of what is no file
ALLOWED = "a path, PIL images, an array (N, H, W, C) or a tensor (N, C, H, W)"
# A data spec; one or several; stored values (N, H, W, C), or one without N; images (N, C, H, W).
Images: TypeAlias = (
    str | Path | Image.Image | Sequence[Image.Image] | NDArray[Any] | Tensor | Samples
)


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
    stored: Range | None = None,
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
        stored: range of the values; by default that of a sample folder, or else of `like`.
    """
    stored = stored or (like.range if like else UINT8)
    path = at_home(spec)
    archive = path / ARCHIVE if path.is_dir() else path
    manifest, is_samples = None, archive.name == ARCHIVE and archive.is_file()
    if is_samples:  # of a sample folder, whose parts must be intact
        check(archive.parent)
        manifest = read_manifest(archive.parent)
        stored = range_of(manifest)
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
    if source.files is None and not pad and size not in (None, source.shape[1:]):
        height, width = source.shape[1:]
        raise SettingError(
            "size",
            f"{{}} resizes image files, and {literal(source.name)} is an array of "
            f"{height}x{width} images; resize them by {{resize=to-reference}}",
        )
    if size is None and like and source.files is not None:
        size = like.shape[1:]
    source = at_one_size(source, size=size, channels=channels, stored=stored)
    return Opened(source, manifest)


def read_first(source: Source, count: int | None) -> Tensor:
    """Read the first `count` images, or all: (N, C, H, W)."""
    number = len(source) if count is None else positive("count", count)
    return source.batch(range(len(source))[:number])[0]


def read_images(
    field: str,
    given: Images,
    shape: Sequence[int],
    split: str | Sequence[str] = "train",
    count: int | None = None,
    stored: Range = UINT8,
) -> tuple[Tensor, str]:
    """Return images that a caller gives, (N, C, H, W), and their name; tensors as they are.

    Args:
        field: name of the argument.
        shape: (C, H, W): channels to which pictures, files and arrays are converted, and the size
            to which pictures and files are resized and cropped, and arrays padded; or (C,).
        split: of data that have several.
        count: the first so many; by default all.
        stored: range of the values of files, pictures and arrays.

    Raises:
        SettingError: it is none of `Images`.
        ValueError: no such data, or images that cannot be converted.
    """
    channels, size = shape[0], (shape[1], shape[2]) if len(shape) > 1 else None
    if isinstance(given, str | Path):
        form = {"size": size, "channels": channels, "stored": stored}
        source = open_images(str(given), split=split, **form).source
        return read_first(source, count), source.name
    if isinstance(given, Samples):
        given = given.images
    if isinstance(given, Tensor):
        return given[:count], MEMORY
    if isinstance(given, np.ndarray):
        one = given.ndim == 2 or (given.ndim == 3 and given.shape[-1] in MODES)
        values = check_images(given[None] if one else given, "the array")
        array = of_arrays(MEMORY, ("all",), values)
        source = at_one_size(array, size=size, channels=channels, stored=stored)
        return read_first(source, count), MEMORY
    pictures = [given] if isinstance(given, Image.Image) else given
    if not isinstance(pictures, Sequence) or not all(isinstance(p, Image.Image) for p in pictures):
        raise out_of_range(field, ALLOWED, given)
    turned = map(ImageOps.exif_transpose, pictures[:count])
    upright = [with_channels(each, channels, stored) for each in turned]
    tensors = [to_tensor(each if size is None else cover(each, size)) for each in upright]
    if len({each.shape for each in tensors}) != 1:
        raise SettingError(field, "{} have several sizes, or there are none; give some of one size")
    return torch.stack(tensors), MEMORY


def read_measurements(
    field: str, given: Images, shape: Sequence[int], count: int | None = None, stored: Range = UINT8
) -> tuple[Tensor, str]:
    """Return measurements that a caller gives: images, or numbers in units of [-1, 1].

    Args:
        field: name of the argument.
        given: images as of `read_images`, in the size of the measurement; or numbers (N, ...), in a
            tensor, an array or a .npy file.
        shape: that of a measurement.
        count: the first so many; by default all.
        stored: range of the values of images.

    Returns:
        (N, *shape) uint8, or float32 of numbers; and their name.

    Raises:
        SettingError: they have another shape, or are not finite.
    """
    name = MEMORY
    if isinstance(given, str | Path) and str(given).endswith(".npy"):
        name = at_home(given).name
        given = load_array(at_home(given))
    if isinstance(given, np.ndarray) and given.dtype != np.uint8:
        if given.dtype.kind not in "fiu":
            raise SettingError(field, "{} holds numbers that are not finite and real")
        given = torch.from_numpy(given.astype(np.float32))
    if isinstance(given, Tensor):
        y = given[:count]
    elif len(shape) != 3 or shape[0] not in MODES:
        raise SettingError(
            field, f"{{operator}} leaves no images; give numbers (N, {shape}), as in a .npy file"
        )
    else:
        y, name = read_images(field, given, shape[:1], count=count, stored=stored)
    if y.is_complex() or not y.isfinite().all():
        raise SettingError(field, "{} holds numbers that are not finite and real")
    if tuple(y.shape[1:]) != tuple(shape):
        raise SettingError(
            field,
            f"each of {{}} has the shape {tuple(y.shape[1:])}, and {{operator}} leaves "
            f"{tuple(shape)} of the images of the model; give another of the two",
        )
    if not len(y):
        raise SettingError(field, "{} has no measurements; give at least one")
    return (y if y.dtype == torch.uint8 else y.cpu().float()), name
