"""Source, Features, Extraction -> FeatureSet.

Moments are accumulated in the order of the images, and parts have a fixed size, so the result is
the same for any number of ranks and after an interruption.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.data import Source
from adm.features import Extracted, Features
from adm.images import to_uint8
from adm.metrics import Moments, Statistics, statistics
from adm.processes import Devices
from adm.progress import progress
from adm.shown import count_of
from adm.spec import out_of_range
from adm.store.work import Arrays, Report, Work, holding, work_in

PART = 256  # images: seconds of work, and 200 MB of 512 x 512 pixels
ROWS = 2048  # images per update of the moments


@dataclass(frozen=True)
class Extraction:
    """How features are extracted; it affects their values only by rounding.

    Attributes:
        devices: the ranks that share the images, all of which must call; by default a single one
            on the CPU.
        batch_size: images per batch; affects memory use and speed.
        work: cache folder that all ranks can read and write, from which the same call resumes.
            Cached features are used only for images with the same bytes. One process, or one group
            of ranks, uses it at a time. By default it is a temporary folder.

    Raises:
        SettingError: `batch_size` is less than 1.
    """

    devices: Devices = field(default_factory=lambda: Devices(torch.device("cpu")))
    batch_size: int = 64
    work: Path | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise out_of_range("batch_size", "at least 1", self.batch_size)

    def part(self, name: str) -> "Extraction":
        """Return the extraction with a sub-folder of its cache, for one of several image sets."""
        return self if self.work is None else replace(self, work=self.work / name)


DEFAULT = Extraction()


@contextmanager
def resumable(extraction: Extraction, out: Path | None) -> Iterator[Extraction]:
    """Add a cache folder beside a file to write, from which the same command resumes.

    It is removed at the end of the block, and stays after an error. Nothing is added without a
    file, or if `extraction` has a folder.

    Raises:
        InUse: another process writes the file.
    """
    if out is None or extraction.work is not None:
        yield extraction
        return
    work, devices = out.with_name(f".{out.name}.work"), extraction.devices
    with holding(work, devices):
        try:
            yield replace(extraction, work=work)
        except BaseException:
            for each in work.glob("*/"):
                with suppress(OSError):  # not empty, or removed by another rank
                    each.rmdir()
            raise
        devices.once(lambda: shutil.rmtree(work, ignore_errors=True))


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of a set of N images.

    Attributes:
        name, fingerprint: of the features.
        source: name of the images.
        pool: (N, D) float32, memory-mapped, as are the other features.
        spatial: (N, S) float32; None if the network has none.
        logits: (N, K) float32, or None.
        labels: (N,) int64, or None if all images are of one class.
        classes: name of each label.
        size: (H, W) of an image.
        channels: C of an image.
        hashes: (N, 32) uint8, SHA-256 of each image's bytes as (C, H, W).
        stored: statistics of pooled and spatial features from an .npz file of samples, which
            replace those of the arrays; None without such a file.
    """

    name: str
    fingerprint: str
    source: str
    pool: np.ndarray
    spatial: np.ndarray | None
    logits: np.ndarray | None
    labels: np.ndarray | None
    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    hashes: np.ndarray
    stored: tuple[Statistics, Statistics | None] | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(self.pool)

    @property
    def digest(self) -> str:
        """SHA-256 of the number of images, their shape, and their hashes in order."""
        whole = hashlib.sha256(f"{(self.count, self.channels, *self.size)}".encode())
        whole.update(np.ascontiguousarray(self.hashes).tobytes())
        return whole.hexdigest()

    @property
    def label_counts(self) -> dict[str, int] | None:
        """Class name -> number of images; None without labels. Equal names are one class."""
        if self.labels is None:
            return None
        counts = dict.fromkeys(self.classes, 0)
        of_labels = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        for name, count in zip(self.classes, of_labels, strict=True):
            counts[name] += count
        return counts

    def manifest(self) -> dict[str, Any]:
        """Return what the images are, as JSON values."""
        return {
            "source": self.source,
            "count": self.count,
            "size": list(self.size),
            "channels": self.channels,
            "sha256": self.digest,
            "labels": self.label_counts,
        }

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of `pool`, for the Fréchet distance."""
        return _statistics(self.pool) if self.stored is None else self.stored[0]

    @cached_property
    def spatial_statistics(self) -> Statistics | None:
        """Mean and covariance of the spatial features, or None."""
        if self.stored is not None:
            return self.stored[1]
        return None if self.spatial is None else _statistics(self.spatial)


def extract(source: Source, features: Features, extraction: Extraction = DEFAULT) -> FeatureSet:
    """Extract the features of every image; each rank extracts its share.

    Memory use does not grow with the number of images. A feature takes 8 bytes on disk, which is
    16 KB per image for Inception's pool features.

    Args:
        source: images of one size; those of another range than `UINT8` are rounded to 8 bits, which
            features read.
        features: the extractor.
        extraction: ranks, batch size, cache folder and progress.

    Returns:
        The features, equal on every rank.

    Raises:
        ValueError: there are fewer than 2 images or images of several sizes, an image is not
            supported by the network, features are not finite, or the ranks do not share the
            `work` folder.
    """
    devices = extraction.devices
    if len(source) < 2:
        count = count_of(len(source), "image")
        raise ValueError(f"{source.name} has {count}, and scores need at least 2; give more images")

    def make(span: range, images: Tensor, report: Report) -> Arrays:
        return _features_of(
            source.name, features, span, images.split(extraction.batch_size), report
        )

    what = f"extracting features of {source.name} by {features.name}"
    bar = progress(what, len(source), "images", shown=devices.main)
    with work_in(extraction.work, devices) as folder, bar as report:
        work = Work(folder, len(source), PART, {"features": features.fingerprint})
        work.run(make, devices, report, inputs=lambda span: to_uint8(source.batch(span)[0]))
        arrays = work.assemble(devices)
    channels, height, width = source.shape
    return FeatureSet(
        name=features.name,
        fingerprint=features.fingerprint,
        source=source.name,
        pool=arrays["pool"],
        spatial=arrays.get("spatial"),
        logits=arrays.get("logits"),
        labels=source.labels.numpy() if len(source.classes) > 1 else None,
        classes=source.classes,
        size=(height, width),
        channels=channels,
        hashes=arrays["hashes"],
    )


def _features_of(
    name: str, features: Features, span: range, batches: Sequence[Tensor], report: Report
) -> Arrays:
    """Extract the features of the images of a part."""
    extracted, first = [], span.start
    for batch in batches:
        last = first + len(batch) - 1
        try:
            extracted.append(features.extract(batch))
        except ValueError as error:
            raise ValueError(f"{name}, images {first} to {last}: {error}") from None
        report(len(batch))
        first = last + 1
    columns = zip(Extracted._fields, zip(*extracted, strict=True), strict=True)
    return {
        field: torch.cat(tensors).numpy() for field, tensors in columns if tensors[0] is not None
    }


def _statistics(features: np.ndarray) -> Statistics:
    """(N, D) features, memory-mapped -> mean and covariance, in constant memory."""
    total = Moments.empty(features.shape[1])
    for start in range(0, len(features), ROWS):
        total += Moments.of(features[start : start + ROWS])
    return statistics(total)
