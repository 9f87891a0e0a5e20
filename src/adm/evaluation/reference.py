"""images, features -> what samples are compared with: looked at now, or in a file."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data import Source
from adm.data.naming import at_home
from adm.evaluation.manifest import label_counts, versions
from adm.evaluation.reference_file import (
    IMAGES,
    INCEPTION,
    Reference,
    is_reference,
    read,
)
from adm.evaluation.statistics import PLAINLY, FeatureSet, Looking, extract
from adm.features import Features
from adm.metrics import Statistics

HELD = 1 << 26  # bytes of images in memory; more lie in a temporary file

__all__ = [
    "INCEPTION",
    "Reference",
    "check_features",
    "completed",
    "is_reference",
    "load_reference",
    "make_reference",
    "of_features",
    "stored_statistics",
]


def make_reference(
    source: Source,
    features: Features,
    looking: Looking = PLAINLY,
    *,
    images: int = IMAGES,
) -> Reference:
    """Look at every image, and keep some.

    Args:
        source: the real images, of one size.
        features: what looks at them.
        looking: in which processes, and how.
        images: how many to keep; where there are more they are drawn, with a fixed seed.

    Returns:
        The same in every process.

    Raises:
        ValueError: as `extract`; none to keep.
    """
    if images < 2:
        raise ValueError(f"a reference keeps at least 2 images, got {images}")
    return of_features(extract(source, features, looking), source, images)


def of_features(seen: FeatureSet, source: Source, images: int = IMAGES) -> Reference:
    """The reference of images that were looked at already."""
    rows = chosen(seen.count, images)
    manifest = {
        "source": seen.source,
        "count": seen.count,
        "size": list(seen.size),
        "channels": seen.channels,
        "sha256": seen.digest,
        "labels": label_counts(seen.labels, seen.classes),
        "versions": versions(),
    }
    return Reference(
        features=seen.name,
        fingerprint=seen.fingerprint,
        statistics=seen.statistics,
        spatial=seen.spatial_statistics,
        pool=np.array(seen.pool[rows]),
        images=_pictures(source, rows.tolist()),
        labels=None if seen.labels is None else seen.labels[rows],
        classes=seen.classes if seen.labels is not None else (),
        count=seen.count,
        manifest=manifest,
    )


def chosen(count: int, images: int = IMAGES) -> np.ndarray:
    """(min(count, images),) the images to keep, in order: all, or some drawn with a fixed seed.

    Every so-and-so-many-th would miss classes that come in turns.
    """
    if count <= images:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, images, replace=False))


def load_reference(path: str | Path, features: Features | None = None) -> Reference:
    """Open a reference, ours or a released one.

    Args:
        path: the file.
        features: those that samples are to be looked at with; the reference must have been made
            with them, and images that lie in a released file are then looked at too.

    Raises:
        ValueError: no reference, a damaged one, or one that was made with other features.
    """
    reference = read(at_home(path))
    return reference if features is None else completed(reference, features)


def completed(reference: Reference, features: Features, looking: Looking = PLAINLY) -> Reference:
    """A reference of these features, whose images have been looked at if it has any.

    Raises:
        ValueError: it was made with other features; or as `extract`.
    """
    check_features(reference, features)
    images = reference.images
    if reference.pool is not None or images is None:
        return reference

    def read_many(indices: list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[indices].transpose(0, 3, 1, 2)))

    source = Source(
        reference.name,
        ("image",),
        torch.zeros(len(images), dtype=torch.int64),
        read=lambda index: read_many([index])[0],
        read_many=read_many,
    )
    seen = extract(source, features, looking)
    return replace(reference, pool=seen.pool, fingerprint=features.fingerprint)


def stored_statistics(
    path: str | Path, features: Features
) -> tuple[Statistics, Statistics | None] | None:
    """What an .npz file of samples states of itself, of these features; None where it does not.

    The released evaluator takes it for what the images have, and so do we.

    Raises:
        ValueError: the file is damaged.
    """
    if not is_reference(path):
        return None
    found = load_reference(path)
    if found.features != features.name or found.fingerprint not in (None, features.fingerprint):
        return None
    return found.statistics, found.spatial


def check_features(reference: Reference, features: Features) -> None:
    """Raise ValueError unless the reference was made with these features."""
    name = reference.name
    made = (reference.features, reference.fingerprint)
    if reference.features != features.name:
        raise ValueError(
            f"{name} was made with the features {made[0]}, and {features.name} were asked for; "
            f"open those with --features ({made[0]}, or the function or file that they are of), or "
            "make another reference"
        )
    if reference.fingerprint not in (None, features.fingerprint):
        raise ValueError(
            f"{name} was made with another {made[0]} (fingerprint {made[1]}, these have "
            f"{features.fingerprint}): other weights or another way to make images ready; make it "
            "again with adm reference"
        )
    dim = len(reference.statistics.mean)
    if features.dim not in (None, dim):
        raise ValueError(
            f"{name} holds statistics of {dim} features and {features.name} has {features.dim}; "
            "make it again with adm reference"
        )


def _pictures(source: Source, rows: list[int]) -> np.ndarray:
    """(n, H, W, C) uint8 of these images."""
    channels, height, width = source.shape
    shape = (len(rows), height, width, channels)
    images = np.empty(shape, np.uint8)
    if images.nbytes > HELD:
        with tempfile.TemporaryFile() as file:  # 2 GB of 256 x 256 pixels
            images = np.memmap(file, np.uint8, "w+", shape=shape)
    for start in range(0, len(rows), 256):
        some = source.batch(rows[start : start + 256])[0]
        images[start : start + len(some)] = some.permute(0, 2, 3, 1).numpy()
    return images
