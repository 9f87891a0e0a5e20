"""Source, Features, Extraction -> FeatureSet.

Features are extracted in chunks of a fixed size, and each finished chunk is a file. Its content
does not depend on the rank that extracts it, and moments are accumulated in the order of the
images, so the result is the same for any number of ranks and after an interruption.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.app.notices import notice
from adm.app.scoring import chunks
from adm.app.scoring.temporary import room_told
from adm.cached import Cached
from adm.data import Source
from adm.data.counting import count_of
from adm.features import Features
from adm.metrics import Moments, Statistics, statistics
from adm.processes import Devices

CHUNK = 256  # images: seconds of work, and 200 MB of 512 x 512 pixels
PREFIX = "adm-features-"  # prefix of temporary folders
Hashes = dict[int, np.ndarray]  # index of a chunk's first image -> hashes of its images


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
        on_images: called with a number of images when this rank has finished them; `Cached` if
            their features were cached.

    Raises:
        ValueError: `batch_size` is less than 1.
    """

    devices: Devices = field(default_factory=lambda: Devices(torch.device("cpu")))
    batch_size: int = 64
    work: Path | None = None
    on_images: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def done(self, count: int) -> None:
        """Report that this rank has finished `count` more images."""
        if self.on_images is not None:
            self.on_images(count)


DEFAULT = Extraction()


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of a set of N images.

    Attributes:
        name: name of the features.
        fingerprint: fingerprint of the features.
        source: name of the images.
        count: N.
        pool: (N, D) float32.
        moments: moments of `pool`.
        spatial: moments of `spatial_features`, or None.
        spatial_features: (N, S) float32, memory-mapped; None if the network has none.
        logits: (N, K) float32, or None.
        labels: (N,) int64, or None if all images are of one class.
        classes: name of each label.
        size: (H, W) of an image.
        channels: C of an image.
        hashes: (N, 32) uint8, SHA-256 of each image's bytes as (C, H, W).
        stored: statistics from an .npz file of samples that replace those of `pool`, or None.
        stored_spatial: the same for `spatial`.
    """

    name: str
    fingerprint: str
    source: str
    count: int
    pool: np.ndarray
    moments: Moments
    spatial: Moments | None
    spatial_features: np.ndarray | None
    logits: np.ndarray | None
    labels: np.ndarray | None
    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    hashes: np.ndarray
    stored: Statistics | None = None
    stored_spatial: Statistics | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the number of images, their shape, and their hashes in order."""
        return _digest((self.count, self.channels, *self.size), self.hashes)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of `pool`, for the Fréchet distance."""
        return statistics(self.moments) if self.stored is None else self.stored

    @cached_property
    def spatial_statistics(self) -> Statistics | None:
        """Mean and covariance of the spatial features, or None."""
        if self.stored is not None or self.spatial is None:
            return self.stored_spatial
        return statistics(self.spatial)


def extract(source: Source, features: Features, extraction: Extraction = DEFAULT) -> FeatureSet:
    """Extract the features of every image; each rank extracts its share.

    Memory use does not grow with the number of images. A feature takes 8 bytes on disk, which is
    16 KB per image for Inception's pool features.

    Args:
        source: images of one size.
        features: the extractor.
        extraction: ranks, batch size, cache folder and progress.

    Returns:
        The features, equal on every rank.

    Raises:
        ValueError: there are fewer than 2 images or images of several sizes, an image is corrupt or
            not supported by the network, features are not finite, or the ranks do not share the
            `work` folder.
    """
    devices = extraction.devices
    if len(source) < 2:
        held = count_of(len(source), "image")
        raise ValueError(f"{source.name} has {held}, and scores need at least 2; give more images")
    spans = spans_of(len(source))
    own = spans[devices.rank :: devices.world]
    with _folder(extraction.work, devices) as folder:
        hashes = _merged(
            devices, lambda: _extract_chunks(source, features, folder, own, extraction)
        )
        devices.once(lambda: chunks.join(folder, spans, features.fingerprint, hashes))
        # No rank may return and remove the folder before all have opened the arrays in it.
        return devices.each(lambda: _loaded(folder, source, features))


def digest_of(source: Source, devices: Devices) -> str:
    """Return `FeatureSet.digest` of images without features; each rank reads its share."""
    spans = spans_of(len(source))
    own = spans[devices.rank :: devices.world]
    hashes = _merged(
        devices,
        lambda: {span.start: chunks.hashes_of(images) for span, images in _prefetched(source, own)},
    )
    return _digest(
        (len(source), *source.shape), np.concatenate([hashes[span.start] for span in spans])
    )


def spans_of(count: int) -> list[range]:
    """Return the indices of the images of each chunk."""
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def own_images(count: int, devices: Devices) -> int:
    """Return how many of `count` images this rank extracts."""
    return sum(map(len, spans_of(count)[devices.rank :: devices.world]))


@contextmanager
def _folder(work: Path | None, devices: Devices) -> Iterator[Path]:
    """Yield the cache folder: `work`, or a temporary one that is removed once all ranks opened it.

    Mapped files remain valid after they are removed, until the last rank exits. Removal at exit is
    not an option: ranks of a distributed group exit without removing temporary folders.
    """
    if work is not None:
        devices.each(lambda: work.mkdir(parents=True, exist_ok=True))
        with devices.holding(work):
            yield work
        return
    made: list[tempfile.TemporaryDirectory[str]] = []
    passing = partial(tempfile.TemporaryDirectory, prefix=PREFIX, ignore_cleanup_errors=True)
    devices.once(lambda: made.append(passing()))
    with made[0] if made else nullcontext(), room_told("the features of all images"):
        yield Path(devices.gather(made[0].name if made else None)[0])


def _merged(devices: Devices, act: Callable[[], Hashes]) -> Hashes:
    """Merge the hashes that `act` returns on every rank."""
    parts = devices.gather(devices.each(act))
    return {start: rows for part in parts for start, rows in part.items()}


def _digest(shape: tuple[int, ...], hashes: np.ndarray) -> str:
    whole = hashlib.sha256(f"{shape}".encode())
    whole.update(np.ascontiguousarray(hashes).tobytes())
    return whole.hexdigest()


def _extract_chunks(
    source: Source,
    features: Features,
    folder: Path,
    spans: Sequence[range],
    extraction: Extraction,
) -> Hashes:
    """Extract the chunks that the folder does not hold; return the hashes of all images."""
    found: Hashes = {}
    told = False
    for span, images in _prefetched(source, spans):
        hashes = found[span.start] = chunks.hashes_of(images)
        if chunks.holds(folder, span, features.fingerprint, hashes):
            extraction.done(Cached(len(span)))
            continue
        if not told and (told := chunks.damaged(folder, span)):
            notice(
                f"{folder}: the cached features of images {span.start} to {span.stop - 1} are "
                "damaged, or of an earlier version; such features are extracted again"
            )
        parts, first = [], span.start
        for part in images.split(extraction.batch_size):
            last = first + len(part) - 1
            try:
                parts.append(features.extract(part))
            except ValueError as error:
                raise ValueError(f"{source.name}, images {first} to {last}: {error}") from None
            extraction.done(len(part))
            first = last + 1
        joined = [None if rows[0] is None else torch.cat(rows) for rows in zip(*parts, strict=True)]
        chunks.save(folder, span, features.fingerprint, hashes, joined)
    return found


def _prefetched(source: Source, spans: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
    """Yield the images of each chunk, read while the previous chunk is processed."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        waiting = [reader.submit(source.batch, span) for span in spans[:1]]
        for i, span in enumerate(spans):
            images = waiting.pop().result()[0]
            waiting += [reader.submit(source.batch, after) for after in spans[i + 1 : i + 2]]
            yield span, images


def _loaded(folder: Path, source: Source, features: Features) -> FeatureSet:
    arrays, moments = chunks.load(folder)
    channels, height, width = source.shape
    several = len(source.classes) > 1
    return FeatureSet(
        name=features.name,
        fingerprint=features.fingerprint,
        source=source.name,
        count=len(source),
        pool=arrays["pool"],
        moments=moments["pool"],
        spatial=moments.get("spatial"),
        spatial_features=arrays.get("spatial"),
        logits=arrays.get("logits"),
        labels=source.labels.numpy() if several else None,
        classes=source.classes,
        size=(height, width),
        channels=channels,
        hashes=arrays["hashes"],
    )
