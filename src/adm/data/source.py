"""Source, indices -> uint8 (B, C, H, W), labels; function, arguments -> results, in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from adm.data.files import CorruptImage, Files, Uniforms
from adm.shown import count_of, few
from adm.spec import SettingError

MAX_CORRUPT = 1000  # consecutive corrupt images; more are a fault of the disk, not of the images

MOST_NAMED = 5  # corrupt images in a notice
AHEAD = 16  # arguments per thread in progress

A = TypeVar("A")
B = TypeVar("B")
Arrays = Callable[[list[int]], Tensor]  # rows -> (B, C, H, W) uint8


class NoSplit(ValueError):
    """The data are valid but have no such split, or none with labels."""


class Decoded(NamedTuple):
    images: list[Tensor]  # (C, H, W) uint8; the image, or it and its condition
    used: int  # index of the image; not the requested one if that is corrupt
    corrupt: list[str]  # paths of skipped images


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images: some rows of their storage, in any order.

    Attributes:
        name: of the data, for logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        images: their storage: a function of rows, for arrays, or `Files`.
        rows: (N,) the row of each image; None for 0..N - 1.
        names: row -> name of the image in a list of labels; None for images that `registry.find`
            has not opened.
        condition: images that a model is conditioned on, one for each in order, such as its edges
            (`pairs.pair`); None without conditions.
        paths: row -> file with the same image as the array; None without such files.
        left_out: number of images that a list of labels omits.
        strict: whether `batch` refuses a corrupt image, instead of replacing it by the next one.
        skipped: paths of the images that `batch` has replaced so far.
        threads: in which files are decoded.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    images: Arrays | Files
    rows: np.ndarray | None = None
    names: Callable[[int], str] | None = None
    paths: Callable[[int], str | None] | None = None
    condition: "Source | None" = None
    left_out: int = 0
    strict: bool = False
    skipped: list[str] = field(default_factory=list)
    threads: int = field(default_factory=processors)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def files(self) -> Files | None:
        """The decoder of the images; None for arrays."""
        return self.images if isinstance(self.images, Files) else None

    @property
    def can_crop(self) -> bool:
        """Whether `batch` can crop at random."""
        return self.files is not None and self.files.size is not None

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images: that of the first, unless `files.size` is set."""
        files = self.files
        if files is not None and files.size is not None:
            return files.channels, *files.size
        first = self.read(0) if files is None else self._decode([self], 0, None).images[0]
        channels, height, width = first.shape
        return channels, height, width

    def row(self, index: int) -> int:
        """Return the row of an image."""
        return index if self.rows is None else int(self.rows[index])

    def path(self, index: int) -> str | None:
        """Return the location of an image's file, for messages; None for arrays without files."""
        paths = self.paths if self.files is None else self.files.path
        return None if paths is None else paths(self.row(index))

    def listed(self, index: int) -> str:
        """Return the name in a list of labels of an image of `registry.find`."""
        assert self.names is not None
        return self.names(self.row(index))

    def subset(self, indices: np.ndarray, name: str | None = None) -> "Source":
        """Return the images at `indices` (M,), in that order, with all classes."""
        return replace(
            self,
            name=name or self.name,
            labels=self.labels[torch.from_numpy(indices)],
            rows=indices if self.rows is None else self.rows[indices],
            condition=None if self.condition is None else self.condition.subset(indices),
            skipped=[],
        )

    def among(self, ranks: int) -> "Source":
        """Return the source with its share of the processors, for one of several local ranks."""
        return replace(self, threads=max(1, processors() // ranks))

    def read(self, index: int, crop: Uniforms | None = None) -> Tensor:
        """Read one (C, H, W) uint8 image.

        Args:
            index: of the image.
            crop: to crop the image of a file at random; None for the centre.

        Raises:
            CorruptImage: it cannot be decoded.
        """
        if isinstance(self.images, Files):
            return self.images.read(self.row(index), crop)
        return self.images([self.row(index)])[0]

    def batch(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read (B, C, H, W) uint8 images and their (B,) labels.

        The same index and crop give the same image, whatever was read before. A corrupt image is
        replaced by the next one in order, with its own label, unless the source is strict.

        Args:
            indices: of the images.
            crops: uniforms for each image, to crop at random; None for the centre.

        Raises:
            CorruptImage: an image cannot be decoded, and the source is strict.
            ValueError: crops for images that cannot be cropped, or not one per image; only corrupt
                images.
        """
        (images,), labels = self._batch([self], indices, crops)
        return images, labels

    def pairs(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Read as `batch`, and the (B, C, h, w) conditions, cropped alike; None without any.

        An image whose condition is corrupt counts as corrupt.
        """
        if self.condition is None:
            return *self.batch(indices, crops), None
        (images, conditions), labels = self._batch([self, self.condition], indices, crops)
        return images, labels, conditions

    def _batch(
        self, sources: "list[Source]", indices: Sequence[int], crops: Sequence[Uniforms] | None
    ) -> tuple[list[Tensor], Tensor]:
        """The images of each source, and the labels."""
        chosen = list(indices)
        if crops is not None and not all(each.can_crop for each in sources):
            raise SettingError("data.crop", f"centre for {self.name}, which has no random crops")
        if any(each.files is not None for each in sources):
            uniforms = [None] * len(chosen) if crops is None else crops
            images, chosen = self._gather(sources, list(zip(chosen, uniforms, strict=True)))
        else:
            images = [each._rows(chosen) for each in sources]
        return images, self.labels[chosen]

    def _rows(self, indices: list[int]) -> Tensor:
        assert not isinstance(self.images, Files)
        return self.images(list(map(self.row, indices)))

    def _gather(
        self, sources: "list[Source]", requests: list[tuple[int, Uniforms | None]]
    ) -> tuple[list[Tensor], list[int]]:
        """The images of each source in one tensor, and the index of each."""
        shapes = [(len(requests), *each.shape) for each in sources]
        batches = [torch.empty(shape, dtype=torch.uint8).numpy() for shape in shapes]

        def place(position: int) -> tuple[int, list[str]]:
            decoded = self._decode(sources, *requests[position])
            for source, images, image in zip(sources, batches, decoded.images, strict=True):
                if image.shape != source.shape:
                    where, size = source.path(decoded.used) or source.name, image.shape[1:]
                    raise unequal("the first image", source.shape[1:], where, size)
                # Copied now, so that the next image can reuse the memory of this one.
                images[position] = image.numpy()
            return decoded.used, decoded.corrupt

        placed = list(map_ahead(place, range(len(requests)), self.threads))
        for path in (path for _, corrupt in placed for path in corrupt):
            if path not in self.skipped:
                self.skipped.append(path)
        return list(map(torch.from_numpy, batches)), [index for index, _ in placed]

    def _decode(self, sources: "list[Source]", index: int, crop: Uniforms | None) -> Decoded:
        """The image of each source, or the next ones that can all be decoded."""
        corrupt: list[str] = []
        for offset in range(min(len(self), MAX_CORRUPT)):
            current = (index + offset) % len(self) if offset else index
            try:
                return Decoded([each.read(current, crop) for each in sources], current, corrupt)
            except CorruptImage as error:
                if self.strict:
                    raise
                corrupt.append(error.path)
        raise ValueError(
            f"{self.name}: {count_of(len(corrupt), 'image')} in a row cannot be decoded, the first "
            f"is {corrupt[0]}; check the disk and the files"
        )


def left_out(name: str, paths: Sequence[str]) -> str:
    """Return a notice that names images that cannot be decoded."""
    first, images = few(paths, MOST_NAMED), count_of(len(paths), "image")
    return f"{name}: {images} cannot be decoded, and left out: {first}"


def unequal(one: str, first: Sequence[int], other: str, second: Sequence[int]) -> SettingError:
    """Return the error of two images of different sizes (H, W)."""
    sizes = ["x".join(map(str, size)) for size in (second, first)]
    return SettingError(
        "size",
        f"given, as {other} is {sizes[0]} and {one} is {sizes[1]}",
        cure=f"pass {{size={min(*first, *second)}}}, to which all are resized and cropped",
    )


def in_memory(name: str, classes: tuple[str, ...], images: Tensor, labels: Tensor) -> Source:
    """A source of images in memory: uint8 (N, C, H, W), with labels (N,)."""

    def read(rows: list[int]) -> Tensor:
        return images[torch.tensor(rows, dtype=torch.int64)]

    return Source(name, classes, labels.long(), read)


def of_arrays(
    name: str, classes: tuple[str, ...], images: np.ndarray, labels: Tensor | None = None
) -> Source:
    """A source of images (N, H, W, C) uint8, which may be memory-mapped, with labels (N,)."""

    def read(rows: list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)))

    if labels is None:
        labels = torch.zeros(len(images), dtype=torch.int64)
    return Source(name, classes, labels, read)


def map_ahead(
    function: Callable[[A], B], arguments: Iterable[A], threads: int | None = None
) -> Iterator[B]:
    """As map(function, arguments), in threads that work ahead of the caller."""
    remaining, threads = iter(arguments), threads or processors()
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
