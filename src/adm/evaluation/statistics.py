"""images, features -> what is seen in all of them: streamed, kept on disk, gone on with.

Images are looked at in chunks of a fixed size, each of which leaves a file when it is done. Which
process looks at a chunk, and when, changes nothing of the file, and what is counted is counted in
the order of the images; so one process and many, and one that was interrupted, give the same.
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

from adm.data import Source
from adm.data.counting import count_of
from adm.evaluation import chunks
from adm.features import Features
from adm.metrics import Moments, Statistics, statistics
from adm.processes import Devices

CHUNK = 256  # images: seconds of work, and 200 MB of 512 x 512 pixels
PREFIX = "adm-features-"  # of a temporary folder
Hashes = dict[int, np.ndarray]  # of each chunk's images, by the first of them


@dataclass(frozen=True)
class Looking:
    """How images are looked at, which changes last digits at most.

    Attributes:
        devices: the processes that work together; all of them must call. One alone by default.
        batch_size: images that a network sees at a time; changes memory and speed.
        work: a folder that keeps what is done, so that the same call goes on after an
            interruption; all processes must see it. It is trusted only for images whose bytes are
            the same as they were. A temporary one by default.
        on_images: is told of each number of this process's images that are done.
    """

    devices: Devices = field(default_factory=lambda: Devices(torch.device("cpu")))
    batch_size: int = 64
    work: Path | None = None
    on_images: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1, got {self.batch_size}")

    def done(self, count: int) -> None:
        """So many of this process's images are done."""
        if self.on_images is not None:
            self.on_images(count)


PLAINLY = Looking()


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A set of images as a network sees it.

    Attributes:
        name: of the features.
        fingerprint: of the features.
        source: what the images are called.
        count: N.
        pool: (N, D) float32.
        moments: of `pool`.
        spatial: moments of the features that keep places, or None where there are none.
        spatial_features: (N, S) float32, on disk; or None.
        logits: (N, K) float32, or None.
        labels: (N,) int64, or None where all images are of one class.
        classes: the name of each label.
        size: (H, W).
        channels: of an image.
        hashes: (N, 32) uint8, SHA-256 of each image's bytes as (C, H, W).
        given: statistics that stand for the images' own, as a file of the released layout states.
        given_spatial: the same of the features that keep places.
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
    given: Statistics | None = None
    given_spatial: Statistics | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the number of images, their shape, and the hash of each in order."""
        return _digest((self.count, self.channels, *self.size), self.hashes)

    @cached_property
    def statistics(self) -> Statistics:
        """The normal distribution that a Fréchet distance compares."""
        return statistics(self.moments) if self.given is None else self.given

    @cached_property
    def spatial_statistics(self) -> Statistics | None:
        """The same of the features that keep places."""
        if self.given is not None or self.spatial is None:
            return self.given_spatial
        return statistics(self.spatial)


def extract(source: Source, features: Features, looking: Looking = PLAINLY) -> FeatureSet:
    """Look at every image, each process at its share.

    Memory does not grow with the number of images; the disk takes 8 bytes a number, 16 KB an image
    for Inception's pool alone.

    Args:
        source: images of one size.
        features: what looks at them.
        looking: in which processes, and how.

    Returns:
        The same in every process.

    Raises:
        ValueError: fewer than 2 images, images of several sizes, a corrupt one, features that are
            not finite or cannot be had of such images, or a folder that processes do not share.
    """
    devices = looking.devices
    if len(source) < 2:
        held = count_of(len(source), "image")
        raise ValueError(f"{source.name} has {held}; scores need 2 or more")
    spans = spans_of(len(source))
    own = spans[devices.rank :: devices.world]
    with _folder(looking.work, devices) as folder:
        hashes = _in_one(devices, lambda: _look(source, features, folder, own, looking))
        devices.once(lambda: chunks.join(folder, spans, features.fingerprint, hashes))
        # Only when all have opened the arrays may one go on, and remove what they lie in.
        return devices.each(lambda: _opened(folder, source, features))


def digest_of(source: Source, devices: Devices) -> str:
    """`FeatureSet.digest` of images that no network looks at; each process reads its share."""
    spans = spans_of(len(source))
    own = spans[devices.rank :: devices.world]
    hashes = _in_one(
        devices,
        lambda: {span.start: chunks.hashes_of(images) for span, images in _ahead(source, own)},
    )
    return _digest(
        (len(source), *source.shape), np.concatenate([hashes[span.start] for span in spans])
    )


def spans_of(count: int) -> list[range]:
    """The images of each chunk."""
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def own_images(count: int, devices: Devices) -> int:
    """How many of `count` images this process looks at."""
    return sum(map(len, spans_of(count)[devices.rank :: devices.world]))


@contextmanager
def _folder(work: Path | None, devices: Devices) -> Iterator[Path]:
    """Where chunks are kept: in a temporary folder, until all processes have opened them.

    What is mapped lasts without a name, and goes with the process however that ends; one that was
    launched with others ends without removing what it has left (`training.devices.end`).
    """
    if work is not None:
        devices.each(lambda: work.mkdir(parents=True, exist_ok=True))
        yield work
        return
    made: list[tempfile.TemporaryDirectory[str]] = []
    passing = partial(tempfile.TemporaryDirectory, prefix=PREFIX, ignore_cleanup_errors=True)
    devices.once(lambda: made.append(passing()))
    with made[0] if made else nullcontext():
        yield Path(devices.gather(made[0].name if made else None)[0])


def _in_one(devices: Devices, act: Callable[[], Hashes]) -> Hashes:
    """The hashes that it gave in each process."""
    parts = devices.gather(devices.each(act))
    return {start: rows for part in parts for start, rows in part.items()}


def _digest(shape: tuple[int, ...], hashes: np.ndarray) -> str:
    whole = hashlib.sha256(f"{shape}".encode())
    whole.update(np.ascontiguousarray(hashes).tobytes())
    return whole.hexdigest()


def _look(
    source: Source,
    features: Features,
    folder: Path,
    spans: Sequence[range],
    looking: Looking,
) -> Hashes:
    """See to it that each of these chunks is in the folder; the hashes of their images."""
    found: Hashes = {}
    for span, images in _ahead(source, spans):
        hashes = found[span.start] = chunks.hashes_of(images)
        if chunks.holds(folder, span, features.fingerprint, hashes):
            looking.done(len(span))
            continue
        parts, first = [], span.start
        for part in images.split(looking.batch_size):
            last = first + len(part) - 1
            try:
                parts.append(features.extract(part))
            except ValueError as error:
                raise ValueError(f"{source.name}, images {first} to {last}: {error}") from None
            looking.done(len(part))
            first = last + 1
        joined = [None if rows[0] is None else torch.cat(rows) for rows in zip(*parts, strict=True)]
        chunks.keep(folder, span, features.fingerprint, hashes, joined)
    return found


def _ahead(source: Source, spans: Sequence[range]) -> Iterator[tuple[range, Tensor]]:
    """Each chunk's images, read while those before it are looked at."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        waiting = [reader.submit(source.batch, span) for span in spans[:1]]
        for i, span in enumerate(spans):
            images = waiting.pop().result()[0]
            waiting += [reader.submit(source.batch, after) for after in spans[i + 1 : i + 2]]
            yield span, images


def _opened(folder: Path, source: Source, features: Features) -> FeatureSet:
    arrays, moments = chunks.joined(folder)
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
