"""Source, Features, Extraction -> FeatureSet.

Features are extracted in parts of a fixed number of images, and each finished part is a file. Its
content does not depend on the rank that extracts it, and moments are accumulated in the order of
the images, so the result is the same for any number of ranks and after an interruption.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from adm.app.progress import watched
from adm.cached import Cached
from adm.data import Source
from adm.features import Extracted, Features
from adm.metrics import Moments, Statistics, statistics
from adm.processes import Devices
from adm.shown import count_of
from adm.spec import SettingError
from adm.store.arrays import Pieces, load_arrays, write_npz
from adm.store.files import FULL, new_file
from adm.store.parts import Parts
from adm.store.spans import divide

PART = 256  # images: seconds of work, and 200 MB of 512 x 512 pixels
ROWS = 2048  # images per update of the moments
PREFIX = "adm-features-"  # prefix of temporary folders
WHOLE = "features.npz"  # the arrays of all images
ARRAYS = ("hashes", *Extracted._fields)

Hashes: TypeAlias = Mapping[int, np.ndarray]  # first image of a part -> (B, 32) of its images
Advance: TypeAlias = Callable[[int], object]
Bar: TypeAlias = Callable[[str, int], AbstractContextManager[Advance]]


def silent(what: str, count: int) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda amount: None)


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
        bar: opens a progress bar for a description and a number of images; the function that it
            yields is called with a number of images when this rank has finished them, `Cached` if
            their features were cached. The main rank opens it; by default one that is shown where a
            terminal or a notebook displays it.

    Raises:
        SettingError: `batch_size` is less than 1.
    """

    devices: Devices = field(default_factory=lambda: Devices(torch.device("cpu")))
    batch_size: int = 64
    work: Path | None = None
    bar: Bar = lambda what, count: watched(what, count, "images")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingError("batch_size", "at least 1", self.batch_size)

    def part(self, name: str) -> "Extraction":
        """Return the extraction with a sub-folder of its cache, for one of several image sets."""
        return self if self.work is None else replace(self, work=self.work / name)


DEFAULT = Extraction()


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
        source: images of one size; those that cannot be decoded are left out.
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
    source = source.among(devices.local_world)
    if len(source) < 2:
        count = count_of(len(source), "image")
        raise ValueError(f"{source.name} has {count}, and scores need at least 2; give more images")
    spans = [*divide([range(len(source))], PART)]
    own = spans[devices.rank :: devices.world]
    what = f"extracting features of {source.name} by {features.name}"
    bar = extraction.bar if devices.main else silent
    with (
        work_in(extraction.work, devices) as folder,
        bar(what, sum(map(len, own))) as advance,
    ):
        parts = Parts(folder, features.fingerprint)
        size = extraction.batch_size
        act = partial(_extract_parts, source, features, parts, own, size, advance)
        by_rank = devices.gather(devices.each(act))
        hashes = {start: rows for part in by_rank for start, rows in part.items()}
        devices.once(lambda: _join(parts, spans, hashes))
        # No rank may return and remove the folder before all have opened the arrays in it.
        arrays = devices.each(lambda: load_arrays(folder / WHOLE, ARRAYS))
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


def hashes_of(images: Tensor) -> np.ndarray:
    """(B, C, H, W) uint8 -> (B, 32) uint8, SHA-256 of each image's bytes."""
    digests = (hashlib.sha256(image.tobytes()).digest() for image in images.contiguous().numpy())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), 32)


@contextmanager
def work_in(work: Path | None, devices: Devices) -> Iterator[Path]:
    """Yield the cache folder: `work`, or a temporary one that is removed once all ranks opened it.

    Mapped files remain valid after they are removed, until the last rank exits. Removal at exit is
    not an option: ranks of a distributed group exit without removing temporary folders.
    """
    if work is not None:
        devices.each(lambda: work.mkdir(parents=True, exist_ok=True))
        with devices.holding(work):
            yield work
        return
    temporary: list[tempfile.TemporaryDirectory[str]] = []
    create = partial(tempfile.TemporaryDirectory, prefix=PREFIX, ignore_cleanup_errors=True)
    devices.once(lambda: temporary.append(create()))
    with temporary[0] if temporary else nullcontext():
        try:
            yield Path(devices.gather(temporary[0].name if temporary else None)[0])
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise ValueError(
                f"the temporary folder {tempfile.gettempdir()} has no room for the numbers of all "
                "images; free space there, or set the environment variable TMPDIR to another"
            ) from None


def _extract_parts(
    source: Source,
    features: Features,
    parts: Parts,
    spans: Sequence[range],
    batch_size: int,
    advance: Advance,
) -> Hashes:
    """Extract the missing parts; return the hashes of the images of all parts."""
    hashes: dict[int, np.ndarray] = {}
    for span, images in _prefetch(source, spans):
        digests = hashes[span.start] = hashes_of(images)
        if parts.read(span, hashes=digests) is not None:
            advance(Cached(len(span)))
            continue
        batches, first = [], span.start
        for batch in images.split(batch_size):
            last = first + len(batch) - 1
            try:
                batches.append(features.extract(batch))
            except ValueError as error:
                raise ValueError(f"{source.name}, images {first} to {last}: {error}") from None
            advance(len(batch))
            first = last + 1
        arrays = {"hashes": digests}
        for name, tensors in zip(Extracted._fields, zip(*batches, strict=True), strict=True):
            if tensors[0] is not None:
                arrays[name] = torch.cat(tensors).numpy()
        parts.write(span, **arrays)
    return hashes


def _join(parts: Parts, spans: Sequence[range], hashes: Hashes) -> None:
    """Write the arrays of all images as one file, in constant memory."""
    likes: dict[str, np.ndarray] = {}  # the arrays of a part, without any image
    for span in spans:
        which = f"the features of images {span.start} to {span.stop - 1}"
        arrays = parts.read(span, hashes=hashes[span.start])
        if arrays is None:
            raise ValueError(
                f"{parts.folder} lacks {which}, which another rank extracted; give work=... a "
                "folder that all ranks share"
            )
        empty = {name: array[:0].copy() for name, array in arrays.items()}
        likes = likes or empty
        if {name: each.shape for name, each in empty.items()} != {
            name: each.shape for name, each in likes.items()
        }:
            raise ValueError(
                f"{parts.folder}: {which} are of another shape than those before; remove it, and "
                "make the features of all images equally many"
            )

    def pieces(name: str) -> Iterator[np.ndarray]:
        for span in spans:
            yield load_arrays(parts.path(span), [name])[name]

    count = spans[-1].stop
    with new_file(parts.folder / WHOLE, sync=False) as file:
        write_npz(
            file,
            {
                name: Pieces(like.dtype, (count, *like.shape[1:]), pieces(name))
                for name, like in likes.items()
            },
        )


def _statistics(features: np.ndarray) -> Statistics:
    """(N, D) features, memory-mapped -> mean and covariance, in constant memory."""
    total = Moments.empty(features.shape[1])
    for start in range(0, len(features), ROWS):
        total += Moments.of(features[start : start + ROWS])
    return statistics(total)


def _prefetch(source: Source, spans: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
    """Yield the images of each part, read while the previous part is processed."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        waiting = [reader.submit(source.batch, span) for span in spans[:1]]
        for i, span in enumerate(spans):
            images = waiting.pop().result()[0]
            waiting += [reader.submit(source.batch, after) for after in spans[i + 1 : i + 2]]
            yield span, images
