"""Source, indices -> images (B, C, H, W), labels; function, arguments -> results, in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from adm.data.files import Files, Uniforms
from adm.images import UINT8, Range
from adm.spec import SettingError, literal

AHEAD = 16  # arguments per thread in progress
MOST_THREADS = 16  # of a process, of which a machine may run several

A = TypeVar("A")
B = TypeVar("B")
Arrays = Callable[[list[int]], Tensor]  # rows -> (B, C, H, W)


class NoSplit(ValueError):
    """The data are valid but have no such split, or none with labels."""


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images: some rows of their storage, in any order.

    Attributes:
        name: of the data, for logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        images: their storage: a function of rows, for arrays, or `Files`.
        rows: (N,) the row of each image; None for 0..N - 1.
        names: row -> name of the image in a list of labels, such as its path in the data; None
            without names.
        condition: images that a model is conditioned on, one for each in order, such as its edges
            (`pairs.pair`); None without conditions.
        range: of the stored values. Images of `UINT8` are uint8, and those of any other are
            float32 in [-1, 1].
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    images: Arrays | Files
    rows: np.ndarray | None = None
    names: Callable[[int], str] | None = None
    condition: "Source | None" = None
    range: Range = UINT8

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def files(self) -> Files | None:
        """The decoder of the images; None for arrays."""
        return self.images if isinstance(self.images, Files) else None

    @property
    def can_crop(self) -> bool:
        """Whether `pairs` can crop at random: files can be, once they have a size."""
        condition = self.condition is None or self.condition.can_crop
        return self.files is not None and self.files.size is not None and condition

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images: that of the first, unless `files.size` is set."""
        files = self.files
        if files is not None and files.size is not None:
            return files.channels, *files.size
        channels, height, width = self.read(0).shape
        return channels, height, width

    def row(self, index: int) -> int:
        """Return the row of an image."""
        return index if self.rows is None else int(self.rows[index])

    def path(self, index: int) -> str | None:
        """Return the location of an image's file, or its name, for messages; None without any."""
        names = self.names if self.files is None else self.files.path
        return None if names is None else names(self.row(index))

    def name_in_list(self, index: int) -> str:
        """Return the name of an image in a list of labels."""
        if self.names is None:
            raise ValueError(f"the images of {self.name} have no names; open them by a data spec")
        return self.names(self.row(index))

    def subset(self, indices: np.ndarray, name: str | None = None) -> "Source":
        """Return the images at `indices` (M,), in that order, with all classes."""
        return replace(
            self,
            name=name or self.name,
            labels=self.labels[torch.from_numpy(indices)],
            rows=indices if self.rows is None else self.rows[indices],
            condition=None if self.condition is None else self.condition.subset(indices),
        )

    def read(self, index: int, crop: Uniforms | None = None) -> Tensor:
        """Read one (C, H, W) image, uint8 or float32 in [-1, 1].

        Args:
            index: of the image.
            crop: to crop the image of a file at random; None for the centre.

        Raises:
            CorruptImage: it cannot be decoded.
        """
        if isinstance(self.images, Files):
            return self.images.read(self.row(index), crop, self.range)
        return self.images([self.row(index)])[0]

    def batch(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read (B, C, H, W) images and their (B,) labels.

        The same index and crop give the same image, whatever was read before.

        Args:
            indices: of the images.
            crops: uniforms for each image, to crop at random if it `can_crop`; None for the centre.

        Raises:
            CorruptImage: an image cannot be decoded.
        """
        chosen = list(indices)
        uniforms = [None] * len(chosen) if crops is None else crops
        return self._images(list(zip(chosen, uniforms, strict=True))), self.labels[chosen]

    def pairs(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Read as `batch`, and the (B, C, h, w) conditions, cropped alike; None without any."""
        condition = None if self.condition is None else self.condition.batch(indices, crops)[0]
        return *self.batch(indices, crops), condition

    def _images(self, requests: list[tuple[int, Uniforms | None]]) -> Tensor:
        """Read images into one tensor, (B, C, H, W)."""
        if not isinstance(self.images, Files):
            return self.images([self.row(index) for index, _ in requests])
        batch = torch.empty((len(requests), *self.shape), dtype=self.range.memory).numpy()

        def place(position: int) -> None:
            index, crop = requests[position]
            image = self.read(index, crop)
            if image.shape != self.shape:
                where = self.path(index) or self.name
                raise unequal("the first image", self.shape[1:], where, image.shape[1:])
            # Copied now, so that the next image can reuse the memory of this one.
            batch[position] = image.numpy()

        for _ in map_ahead(place, range(len(requests))):
            pass
        return torch.from_numpy(batch)


def unequal(one: str, first: Sequence[int], other: str, second: Sequence[int]) -> SettingError:
    """Return the error of two images of different sizes (H, W)."""
    sizes = ["x".join(map(str, size)) for size in (second, first)]
    return SettingError(
        "size",
        f"{literal(other)} is {sizes[0]} and {literal(one)} is {sizes[1]}; give "
        f"{{size={min(*first, *second)}}}, to which all are resized and cropped",
    )


def in_memory(name: str, classes: tuple[str, ...], images: Tensor, labels: Tensor) -> Source:
    """A source of images in memory: uint8 (N, C, H, W), with labels (N,)."""

    def read(rows: list[int]) -> Tensor:
        return images[torch.tensor(rows, dtype=torch.int64)]

    return Source(name, classes, labels.long(), read)


def of_arrays(
    name: str, classes: tuple[str, ...], images: np.ndarray, labels: Tensor | None = None
) -> Source:
    """A source of numbers (N, H, W, C), which may be memory-mapped, with labels (N,)."""

    def read(rows: list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)))

    if labels is None:
        labels = torch.zeros(len(images), dtype=torch.int64)
    return Source(name, classes, labels, read)


def map_ahead(function: Callable[[A], B], arguments: Iterable[A]) -> Iterator[B]:
    """As map(function, arguments), in threads that work ahead of the caller."""
    remaining, threads = iter(arguments), min(processors(), MOST_THREADS)
    if threads == 1:
        yield from map(function, remaining)
        return
    waiting: deque[Future[B]] = deque()
    try:
        while True:
            for argument in islice(remaining, AHEAD * threads - len(waiting)):
                waiting.append(_pool(threads).submit(function, argument))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork, so the child needs a new pool
    os.register_at_fork(after_in_child=_pool.cache_clear)
