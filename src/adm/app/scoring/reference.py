"""Source, Features, Extraction -> Reference; path -> Reference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.app.scoring.manifest import label_counts, versions
from adm.app.scoring.reference_file import IMAGES, INCEPTION, Reference
from adm.app.scoring.reference_reader import is_reference, read
from adm.app.scoring.statistics import DEFAULT, Extraction, FeatureSet, extract
from adm.app.scoring.temporary import temporary
from adm.data import Source
from adm.data.naming import at_home
from adm.features import Features
from adm.metrics import Statistics
from adm.shown import printable, short

HELD = 1 << 26  # most bytes of images in memory; larger sets use a temporary file

__all__ = [
    "INCEPTION",
    "Reference",
    "check_features",
    "complete_reference",
    "is_reference",
    "load_reference",
    "make_reference",
    "reference_of",
    "stored_statistics",
]


def make_reference(
    source: Source,
    features: Features,
    extraction: Extraction = DEFAULT,
    *,
    images: int = IMAGES,
) -> Reference:
    """Extract the features of real images, and store their statistics and some of the images.

    Args:
        source: real images of one size.
        features: the extractor.
        extraction: ranks, batch size, cache folder and progress.
        images: largest number of images to store; a larger set is subsampled with a fixed seed.

    Returns:
        The reference, equal on every rank.

    Raises:
        ValueError: `images` is less than 2, or an error of `extract`.
    """
    if images < 2:
        raise ValueError(f"images must be at least 2, got {images}; 10000 is usual")
    return reference_of(extract(source, features, extraction), source, images)


def reference_of(real: FeatureSet, source: Source, images: int = IMAGES) -> Reference:
    """Return the reference of images whose features have been extracted."""
    rows = stored_rows(real.count, images)
    manifest = {
        "source": real.source,
        "count": real.count,
        "size": list(real.size),
        "channels": real.channels,
        "sha256": real.digest,
        "labels": label_counts(real.labels, real.classes),
        "versions": versions(),
    }
    return Reference(
        features=real.name,
        fingerprint=real.fingerprint,
        statistics=real.statistics,
        spatial=real.spatial_statistics,
        pool=np.array(real.pool[rows]),
        images=_images(source, rows.tolist()),
        labels=None if real.labels is None else real.labels[rows],
        classes=real.classes if real.labels is not None else (),
        count=real.count,
        manifest=manifest,
    )


def stored_rows(count: int, images: int = IMAGES) -> np.ndarray:
    """Return the (min(count, images),) indices to store: all, or a random subset, sorted.

    A regular stride would omit classes if labels alternate.
    """
    if count <= images:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, images, replace=False))


def load_reference(path: str | Path, features: Features | None = None) -> Reference:
    """Open a reference file of this package or of the released system.

    Args:
        path: the file.
        features: the extractor of the samples. If it is given, the reference is checked against it
            and completed (see `complete_reference`).

    Raises:
        ValueError: the file is not a reference, is damaged, or is of other features.
    """
    reference = read(at_home(path))
    return reference if features is None else complete_reference(reference, features)


def complete_reference(
    reference: Reference, features: Features, extraction: Extraction = DEFAULT
) -> Reference:
    """Extract the features of the images of a reference, which released files do not hold.

    Returns:
        The reference with features; unchanged if it has them already, or has no images.

    Raises:
        ValueError: the reference is of other features, or an error of `extract`.
    """
    check_features(reference, features)
    if not reference.missing:
        return reference
    images = reference.images
    assert images is not None

    def read_many(indices: list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[indices].transpose(0, 3, 1, 2)))

    source = Source(
        reference.name,
        ("image",),
        torch.zeros(len(images), dtype=torch.int64),
        read=lambda index: read_many([index])[0],
        read_many=read_many,
    )
    pool = extract(source, features, extraction).pool
    return replace(reference, pool=pool, fingerprint=features.fingerprint)


def stored_statistics(
    path: str | Path, features: Features
) -> tuple[Statistics, Statistics | None] | None:
    """Read the statistics of these features from an .npz file of samples; None without them.

    As in the released evaluator, they replace the statistics of the images in the file.

    Raises:
        ValueError: the file is damaged.
    """
    if not is_reference(path):
        return None
    found = load_reference(path)
    if not _are_of(found, features):
        return None
    return found.statistics, found.spatial


def check_features(reference: Reference, features: Features) -> None:
    """Raise ValueError unless the reference is of these features."""
    name, made = reference.name, printable(short(reference.features))
    known = printable(short(str(reference.fingerprint)))
    if not _are_of(reference, features):
        if reference.features != features.name:
            raise ValueError(
                f"{name} was made with the features {made}, got {features.name}; open the features "
                f"{made} (a function or a classifier by its file), or make another reference"
            )
        raise ValueError(
            f"{name} was made with other weights or preprocessing of {made} (fingerprint "
            f"{known}, got {features.fingerprint}); make the reference again"
        )
    dim = len(reference.statistics.mean)
    if features.dim not in (None, dim):
        raise ValueError(
            f"{name} holds statistics of {dim} features and {features.name} has {features.dim}; "
            "make the reference again"
        )


def _are_of(reference: Reference, features: Features) -> bool:
    """Whether the reference is of these features: by fingerprint, or by name if it has none.

    The name of a function is the path by which it was opened, and may differ.
    """
    if reference.fingerprint is None:
        return reference.features == features.name
    return reference.fingerprint == features.fingerprint


def _images(source: Source, rows: list[int]) -> np.ndarray:
    """Read the images of these indices, (n, H, W, C) uint8."""
    channels, height, width = source.shape
    shape = (len(rows), height, width, channels)
    images = np.empty(shape, np.uint8)
    if images.nbytes > HELD:
        what = f"holding {len(rows)} images of {source.name}"
        with temporary(images.nbytes, what) as file:  # 2 GB for images of 256 x 256
            images = np.memmap(file, np.uint8, "w+", shape=shape)
    for start in range(0, len(rows), 256):
        some = source.batch(rows[start : start + 256])[0]
        images[start : start + len(some)] = some.permute(0, 2, 3, 1).numpy()
    return images
