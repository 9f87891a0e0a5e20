"""a source of labelled images -> uint8 (C, H, W), label; seed, position -> which image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.data.counting import count_of
from adm.data.threads import in_threads

ORDER = [0, 0, 0, 1]  # where its stream begins, far from those of other uses of the same key
PASSES_KEPT = 4  # permutations in memory: training, validation, and a batch across two passes
MOST_IN_A_ROW = 1000  # corrupt images; beyond that the disk is at fault and not the images

Uniforms = Sequence[float]  # three numbers in [0, 1): the crop's size, height and place across


class NoSplit(ValueError):
    """The data are sound, and have no such split with labels; other errors are not this."""


class CorruptImage(ValueError):
    """A file that cannot be decoded; `path` names it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Found(NamedTuple):
    image: Tensor  # (C, H, W) uint8
    number: int  # of the image, which is not the one asked for where that is corrupt
    corrupt: list[str]  # the paths passed over on the way


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images, wherever they lie.

    Attributes:
        name: what to call it in logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        read: index -> (C, H, W) uint8; raises CorruptImage for a file that cannot be decoded.
        crop: index, three uniforms in [0, 1) -> (C, H, W) uint8, cropped at random; None where
            images are not made of pictures.
        read_many: indices -> (B, C, H, W) uint8 at once, for images that lie in memory.
        threaded: whether decoding is worth several threads.
        skip_corrupt: whether `batch` takes the next image in place of a corrupt one.
        skipped: the paths passed over so far; `batch` adds to it.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    read: Callable[[int], Tensor]
    crop: Callable[[int, Uniforms], Tensor] | None = None
    read_many: Callable[[list[int]], Tensor] | None = None
    threaded: bool = False
    skip_corrupt: bool = False
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image that `batch` gives."""
        channels, height, width = self.batch([0])[0].shape[1:]
        return channels, height, width

    def batch(
        self, indices: Sequence[int], crops: Sequence[Uniforms] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read (B, C, H, W) uint8 images and their (B,) labels.

        The same index and crop give the same image, whatever was read before. Where corrupt images
        are skipped, the next one in order takes the place of each, with its own label.

        Args:
            indices: of the images.
            crops: three uniforms for each image, to crop at random; None for the centre.

        Raises:
            CorruptImage: an image cannot be decoded, and `skip_corrupt` is not set.
            ValueError: crops for a source that has none or of another number; nothing but corrupt
                images.
        """
        chosen = list(indices)
        if crops is None and self.read_many is not None:
            return self.read_many(chosen), self.labels[chosen]
        if crops is not None and self.crop is None:
            raise ValueError(f"{self.name} cannot be cropped at random; set data.crop=centre")
        wanted = list(zip(chosen, [None] * len(chosen) if crops is None else crops, strict=True))
        images, numbers = self._gather(wanted)
        return images, self.labels[numbers]

    def _gather(self, wanted: list[tuple[int, Uniforms | None]]) -> tuple[Tensor, list[int]]:
        """The images in one tensor, and the number of each."""
        first = self._find(*wanted[0])
        images = torch.empty((len(wanted), *first.image.shape), dtype=first.image.dtype).numpy()

        def place(row: int) -> tuple[int, list[str]]:
            found = self._find(*wanted[row]) if row else first
            if found.image.shape != first.image.shape:
                raise ValueError(
                    f"{self.name}: image {found.number} is {tuple(found.image.shape)} and another "
                    f"{tuple(first.image.shape)} (C, H, W); make them equal"
                )
            # Now and not when all are there, so that its memory serves the next image.
            images[row] = found.image.numpy()
            return found.number, found.corrupt

        rows = list(range(len(wanted)))
        placed = in_threads(place, rows) if self.threaded else list(map(place, rows))
        for path in (path for _, corrupt in placed for path in corrupt):
            if path not in self.skipped:
                self.skipped.append(path)
        return torch.from_numpy(images), [number for number, _ in placed]

    def _find(self, index: int, uniforms: Uniforms | None) -> Found:
        """The image, or the next one that can be decoded."""
        corrupt: list[str] = []
        for step in range(min(len(self), MOST_IN_A_ROW)):
            here = (index + step) % len(self) if step else index
            try:
                if uniforms is not None and self.crop is not None:
                    return Found(self.crop(here, uniforms), here, corrupt)
                return Found(self.read(here), here, corrupt)
            except CorruptImage as error:
                if not self.skip_corrupt:
                    raise
                corrupt.append(error.path)
        raise ValueError(
            f"{self.name}: {count_of(len(corrupt), 'image')} in a row cannot be decoded, the first "
            f"is {corrupt[0]}; see `adm data inspect`, and whether the files can be read at all"
        )


def in_memory(name: str, classes: tuple[str, ...], images: Tensor, labels: Tensor) -> Source:
    """A source of images that lie in memory: uint8 (N, C, H, W), with labels (N,)."""
    return Source(
        name,
        classes,
        labels.long(),
        read=lambda index: images[index].clone(),
        read_many=lambda indices: images[torch.tensor(indices, dtype=torch.int64)],
    )


def shuffled(seed: int, total: int, start: int, count: int) -> list[int]:
    """Indices of the images at positions start..start + count of an endless shuffled stream.

    Each pass over the `total` images is a new permutation, a function of (seed, pass): any
    position can be reached without walking there, so resuming needs no state.

    Raises:
        ValueError: there are no images.
    """
    if total < 1:
        raise ValueError("the data holds no images")
    indices: list[int] = []
    while len(indices) < count:
        one_pass, place = divmod(start + len(indices), total)
        left = count - len(indices)
        indices += _permutation(seed, total, one_pass)[place : place + left].tolist()
    return indices


@lru_cache(PASSES_KEPT)
def _permutation(seed: int, total: int, one_pass: int) -> np.ndarray:
    """(total,) int64. A million images take tens of milliseconds, too long for every batch."""
    key = np.array([seed, one_pass], np.uint64)  # a list of such numbers may become floats
    bits = np.random.Philox(key=key, counter=ORDER)
    return np.random.Generator(bits).permutation(total)
