"""Images of a batch <-> .npz file, which vouches for itself; such files -> Stored, images on disk.

A batch file holds the images, their PNG files, what they are of, and a hash of all of this, so that
it can be copied from folder to folder, and processes that share a folder need no list of files.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.data.export import TOGETHER, pngs
from adm.data.pixels import MODES
from adm.generation.job import Images
from adm.store.arrays import read_sealed, write_sealed
from adm.store.files import new_file

NAME = re.compile(r"(\d{8,12})-(\d{8,12})\.npz")  # its first image, and the one after its last
NEEDED = ("of", "start", "images")
PICTURES = ("pictures", "ends")  # the bytes of all PNG files, and where each of them ends


class Batch(NamedTuple):
    """A file of consecutive images of a job.

    Attributes:
        span: their indices.
    """

    path: Path
    span: range


class Pixels(NamedTuple):
    """Consecutive images of a job.

    Attributes:
        span: their indices.
        images: (B, C, H, W) uint8.
        pictures: their PNG files; none if PNG cannot hold them.
    """

    span: range
    images: Tensor
    pictures: Sequence[bytes]


def listed(place: Path) -> list[Batch]:
    """Return the batch files in a folder by their names, unread; none if there is no folder."""
    found = [(path, NAME.fullmatch(path.name)) for path in place.glob("*.npz")]
    spans = ((path, range(int(match[1]), int(match[2]))) for path, match in found if match)
    return [Batch(path, span) for path, span in spans if span]


def store(place: Path, span: range, images: Tensor, of: str) -> Batch:
    """Write a batch file, atomically.

    Args:
        span: indices of the images.
        images: (B, C, H, W) uint8.
        of: fingerprint of their job.
    """
    arrays = {"of": np.array([of]), "start": np.array([span.start]), "images": images.numpy()}
    if images.shape[1] in MODES:
        files = pngs(images)
        arrays["pictures"] = np.frombuffer(b"".join(files), np.uint8)
        arrays["ends"] = np.cumsum([len(file) for file in files], dtype=np.int64)
    path = place / f"{span.start:08d}-{span.stop:08d}.npz"
    with new_file(path) as fresh:
        write_sealed(fresh, arrays)
    return Batch(path, span)


def read(batch: Batch, of: str, shape: Sequence[int]) -> Pixels | None:
    """Return the images of a batch; None if they are damaged, or not those of the job.

    Args:
        of: fingerprint of the job.
        shape: (C, H, W).
    """
    found = read_sealed(batch.path, (*NEEDED, *PICTURES), NEEDED)
    if found is None or found["of"].tolist() != [of]:
        return None
    images = found["images"]
    if found["start"].tolist() != [batch.span.start] or images.dtype != np.uint8:
        return None
    if images.shape != (len(batch.span), *shape):
        return None
    pictures = list[bytes]()
    if shape[0] in MODES:
        if not found.keys() >= set(PICTURES):
            return None
        whole, ends = found["pictures"].tobytes(), found["ends"].tolist()
        starts = [0, *ends[:-1]]
        if len(ends) != len(images) or sorted(ends) != ends or ends[-1] != len(whole):
            return None
        pictures = [whole[start:end] for start, end in zip(starts, ends, strict=True)]
    return Pixels(batch.span, torch.from_numpy(images), pictures)


@dataclass(frozen=True, eq=False)
class Stored:
    """Images of a job in batch files, which are read when they are asked for.

    Attributes:
        pieces: the batches in order, each with those of its images that are not in one before.
        of: fingerprint of the job.
        shape: (C, H, W).
        count: number of images of the job.
    """

    pieces: list[tuple[Batch, range]]
    of: str
    shape: tuple[int, ...]
    count: int

    @classmethod
    def found(
        cls, batches: Iterable[Batch], of: str, shape: tuple[int, ...], count: int
    ) -> "Stored":
        """Return the images of batches, which may overlap: equal images are in several files."""
        pieces, stop = list[tuple[Batch, range]](), 0
        for batch in sorted(batches, key=lambda batch: (batch.span.start, -batch.span.stop)):
            if batch.span.stop > stop:
                pieces.append((batch, range(max(stop, batch.span.start), batch.span.stop)))
                stop = batch.span.stop
        return cls(pieces, of, shape, count)

    @property
    def spans(self) -> list[range]:
        """The indices of the images that are stored."""
        return [span for _, span in self.pieces]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice | list[int], /) -> Tensor:
        """Return some of the images, (B, C, H, W) uint8.

        Raises:
            ValueError: one of them is not stored, or its file has been damaged.
        """
        indices = [*range(self.count)[chosen]] if isinstance(chosen, slice) else chosen
        starts = [span.start for span in self.spans]
        wanted: dict[int, list[int]] = {}
        for row, index in enumerate(indices):
            number = bisect_right(starts, index) - 1
            if number < 0 or index not in self.pieces[number][1]:
                raise ValueError(f"image {index} is missing; run the same command again")
            wanted.setdefault(number, []).append(row)
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for number, rows in wanted.items():
            batch = self._read(self.pieces[number][0])
            images[rows] = batch.images[[indices[row] - batch.span.start for row in rows]]
        return images

    def parts(self) -> Iterator[Pixels]:
        """Yield all images in order, one batch at a time.

        Raises:
            ValueError: a file has been damaged.
        """
        for batch, span in self.pieces:
            whole = self._read(batch)
            own = slice(span.start - batch.span.start, span.stop - batch.span.start)
            yield Pixels(span, whole.images[own], whole.pictures[own])

    def _read(self, batch: Batch) -> Pixels:
        found = read(batch, self.of, self.shape)
        if found is None:
            raise ValueError(
                f"{batch.path} was damaged or removed since it was written; run the same command "
                "again, which samples its images again"
            )
        return found


def parts_of(images: Images) -> Iterator[Pixels]:
    """Yield all images in order, some at a time, with their PNG files."""
    if isinstance(images, Stored):
        yield from images.parts()
        return
    for start in range(0, len(images), TOGETHER):
        part = images[start : start + TOGETHER]
        files = pngs(part) if part.shape[1] in MODES else []
        yield Pixels(range(start, start + len(part)), part, files)
