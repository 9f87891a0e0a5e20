"""Source, index -> uint8 (C, H, W), label; function, arguments -> results, in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice
from typing import BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor

from adm.shown import count_of
from adm.spec import SettingError

MAX_CORRUPT = 1000  # consecutive corrupt images; more are a fault of the disk, not of the images

CHUNKS = 4  # per thread, so that a thread with small files does not wait for one with large files
AHEAD = 16  # arguments per thread in progress

A = TypeVar("A")
B = TypeVar("B")
Open = Callable[[int], BinaryIO]  # index -> seekable stream of the image as it is stored
Uniforms = Sequence[float]  # three in [0, 1): size, top and left of a crop; see `pixels`


class NoSplit(ValueError):
    """The data are valid but have no such split, or none with labels."""


class CorruptImage(ValueError):
    """A file that cannot be decoded; `path` names it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Decoded(NamedTuple):
    image: Tensor  # (C, H, W) uint8
    used: int  # index of the image; not the requested one if that is corrupt
    corrupt: list[str]  # paths of skipped images


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images.

    Attributes:
        name: of the data, for logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        read: index -> (C, H, W) uint8; raises CorruptImage for a file that cannot be decoded.
        crop: index, uniforms -> (C, H, W) uint8, cropped at random; None if that is not supported.
        read_many: indices -> (B, C, H, W) uint8 at once, for images in memory.
        path: index -> location of the image's file, for messages; None for arrays.
        open: index -> stream of the encoded image, which `read` decodes; None for arrays.
        threaded: whether to decode in several threads.
        skip_corrupt: whether `batch` replaces a corrupt image by the next one.
        skipped: paths of the images skipped so far; `batch` adds to it.
        listed: index -> the name by which a list of labels calls the image; None for images that
            `registry.find` has not opened.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    read: Callable[[int], Tensor]
    crop: Callable[[int, Uniforms], Tensor] | None = None
    read_many: Callable[[list[int]], Tensor] | None = None
    path: Callable[[int], str] | None = None
    open: Open | None = None
    threaded: bool = False
    skip_corrupt: bool = False
    skipped: list[str] = field(default_factory=list)
    listed: Callable[[int], str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image."""
        channels, height, width = self.batch([0])[0].shape[1:]
        return channels, height, width

    def batch(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read (B, C, H, W) uint8 images and their (B,) labels.

        The same index and crop give the same image, whatever was read before. If corrupt images
        are skipped, each is replaced by the next one in order, with its own label.

        Args:
            indices: of the images.
            crops: uniforms for each image, to crop at random; None for the centre.

        Raises:
            CorruptImage: an image cannot be decoded, and `skip_corrupt` is not set.
            ValueError: crops for a source without `crop`, or not one per image; only corrupt
                images.
        """
        chosen = list(indices)
        if crops is None and self.read_many is not None:
            return self.read_many(chosen), self.labels[chosen]
        if crops is not None and self.crop is None:
            raise SettingError("data.crop", f"centre for {self.name}, which has no random crops")
        wanted = list(zip(chosen, [None] * len(chosen) if crops is None else crops, strict=True))
        images, numbers = self._gather(wanted)
        return images, self.labels[numbers]

    def _gather(self, wanted: list[tuple[int, Uniforms | None]]) -> tuple[Tensor, list[int]]:
        """The images in one tensor, and the index of each."""
        first = self._decode(*wanted[0])
        images = torch.empty((len(wanted), *first.image.shape), dtype=first.image.dtype).numpy()

        def place(row: int) -> tuple[int, list[str]]:
            found = self._decode(*wanted[row]) if row else first
            if found.image.shape != first.image.shape:
                raise ValueError(
                    f"{self.name}: image {found.used} is {tuple(found.image.shape)} and another "
                    f"{tuple(first.image.shape)} (C, H, W); make their shapes equal"
                )
            # Copied now, so that the next image can reuse the memory of this one.
            images[row] = found.image.numpy()
            return found.used, found.corrupt

        rows = list(range(len(wanted)))
        placed = map_in_threads(place, rows) if self.threaded else list(map(place, rows))
        for path in (path for _, corrupt in placed for path in corrupt):
            if path not in self.skipped:
                self.skipped.append(path)
        return torch.from_numpy(images), [number for number, _ in placed]

    def _decode(self, index: int, uniforms: Uniforms | None) -> Decoded:
        """The image, or the next one that can be decoded."""
        corrupt: list[str] = []
        for offset in range(min(len(self), MAX_CORRUPT)):
            here = (index + offset) % len(self) if offset else index
            try:
                if uniforms is not None and self.crop is not None:
                    return Decoded(self.crop(here, uniforms), here, corrupt)
                return Decoded(self.read(here), here, corrupt)
            except CorruptImage as error:
                if not self.skip_corrupt:
                    raise
                corrupt.append(error.path)
        raise ValueError(
            f"{self.name}: {count_of(len(corrupt), 'image')} in a row cannot be decoded, the first "
            f"is {corrupt[0]}; check the disk and the files"
        )


def in_memory(name: str, classes: tuple[str, ...], images: Tensor, labels: Tensor) -> Source:
    """A source of images in memory: uint8 (N, C, H, W), with labels (N,)."""
    return Source(
        name,
        classes,
        labels.long(),
        read=lambda index: images[index].clone(),
        read_many=lambda indices: images[torch.tensor(indices, dtype=torch.int64)],
    )


def thread_count() -> int:
    """The processors available, divided by the number of local ranks."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def map_in_threads(function: Callable[[A], B], arguments: list[A]) -> list[B]:
    """As list(map(function, arguments)), in threads; raises the first exception in order."""
    threads = thread_count()
    if threads == 1 or len(arguments) < 2:
        return list(map(function, arguments))
    size = -(-len(arguments) // (CHUNKS * threads))
    chunks = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    waiting = [_pool().submit(lambda part: list(map(function, part)), chunk) for chunk in chunks]
    return [value for future in waiting for value in future.result()]


def map_ahead(function: Callable[[A], B], arguments: Iterable[A]) -> Iterator[B]:
    """As map(function, arguments), in threads that work ahead of the caller."""
    remaining = iter(arguments)
    waiting: deque[Future[B]] = deque()
    try:
        while True:
            for argument in islice(remaining, AHEAD * thread_count() - len(waiting)):
                waiting.append(_pool().submit(function, argument))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork, so the child needs a new pool
    os.register_at_fork(after_in_child=_pool.cache_clear)
