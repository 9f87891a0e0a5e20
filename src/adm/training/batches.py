"""Source, seed, steps -> iterator of Batch: this process's images and their random numbers."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from adm.data import Source, shuffle
from adm.processes import Devices
from adm.training.spread import share

AHEAD = 3  # batches prepared in advance
# The streams of a position, 2^192 blocks of Philox apart; other numbers would change every draw.
FIRST, LATER, LOW_RES = 0, 1, 3


class Draws(NamedTuple):
    """The random numbers of a batch; row i belongs to the i-th image.

    Uniform numbers are float64 in [0, 1).

    Attributes:
        level: (B,) uniform; determines the noise level.
        label: (B,) uniform; determines whether the label is dropped.
        flip: (B,) uniform; determines whether the image is mirrored.
        crop: (B, 3) uniform; determines the size and the position of a random crop.
        key: (B,) int64; determines the dropout masks of all layers.
        scale: (B,) uniform; determines the guidance scale of a distilled student.
        noise: (B, C, H, W) float32, standard normal.
        low_level: (B,) uniform; determines the level of the noise on an upsampler's input; None for
            none.
        low_noise: (B, C, h, w) float32, that noise, standard normal.
    """

    level: np.ndarray
    label: np.ndarray
    flip: np.ndarray
    crop: np.ndarray
    key: Tensor
    scale: np.ndarray
    noise: Tensor
    low_level: np.ndarray | None = None
    low_noise: Tensor | None = None

    def part(self, start: int, stop: int) -> "Draws":
        """Return rows start to stop - 1."""
        rows = slice(start, stop)
        return Draws._make(None if each is None else each[rows] for each in self)


def stream(seed: int, position: int, number: int) -> np.random.Generator:
    """Return one of the streams of random numbers of a position.

    Philox (Salmon et al. 2011) is keyed by (seed, position), so that the numbers do not depend on
    micro-batches, on the number of processes, or on where a run was resumed.
    """
    of = np.array([seed, position], np.uint64)  # NumPy may convert a list to floats
    return np.random.Generator(np.random.Philox(key=of, counter=[0, 0, 0, number]))


Shape: TypeAlias = tuple[int, int, int]


def draw(seed: int, start: int, count: int, shape: Shape, low_shape: Shape | None = None) -> Draws:
    """Draw for positions start to start + count - 1 of the endless stream of training images.

    Args:
        shape: (C, H, W) of the noise of one image.
        low_shape: (C, h, w) of the noise on an upsampler's input; None for none.
    """
    uniforms, crops, keys, scales, noises = [], [], [], [], []
    for position in range(start, start + count):
        generator = stream(seed, position, FIRST)
        uniforms.append(generator.random(3))
        noises.append(generator.standard_normal(shape, dtype=np.float32))
        later = stream(seed, position, LATER)
        crops.append(later.random(3))
        keys.append(later.integers(2**63, dtype=np.int64))
        scales.append(later.random())
    level, label, flip = np.stack(uniforms).T
    key, noise = torch.from_numpy(np.stack(keys)), torch.from_numpy(np.stack(noises))
    draws = Draws(level, label, flip, np.stack(crops), key, np.stack(scales), noise)
    if low_shape is None:
        return draws
    streams = [stream(seed, position, LOW_RES) for position in range(start, start + count)]
    levels = np.array([one.random() for one in streams])
    low = np.stack([one.standard_normal(low_shape, dtype=np.float32) for one in streams])
    return draws._replace(low_level=levels, low_noise=torch.from_numpy(low))


class Batch(NamedTuple):
    """Images, labels, and the random draws that training them takes."""

    images: Tensor  # (B, C, H, W) uint8
    labels: Tensor  # (B,) int64
    draws: Draws
    condition: Tensor | None = None  # (B, C, h, w) uint8, the other images of pairs; None for none

    @property
    def size(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Batch":
        """Return rows start to stop - 1."""
        rows = slice(start, stop)
        part = self._each(lambda tensor: tensor[rows])
        return part._replace(draws=self.draws.part(start, stop))

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Change the images and, of pairs, the conditions alike."""
        condition = None if self.condition is None else change(self.condition)
        return self._replace(images=change(self.images), condition=condition)

    def to(self, device: torch.device) -> "Batch":
        """Copy all tensors to a device; the uniform draws stay on the CPU, in NumPy."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """Copy all tensors to page-locked memory, from which `to` copies without blocking."""
        return self._each(Tensor.pin_memory)

    def _each(self, copied: Callable[[Tensor], Tensor]) -> "Batch":
        """Copy all tensors."""
        draws = Draws._make(copied(x) if isinstance(x, Tensor) else x for x in self.draws)
        copies = (copied(x) if isinstance(x, Tensor) else x for x in self)
        return Batch._make(copies)._replace(draws=draws)


class Augmentation(NamedTuple):
    """Which random augmentations are applied: mirroring, crops, and noise on an input.

    Attributes:
        low_res: (h, w) of the image that a model is conditioned on, to which noise is added; None
            for no noise.
    """

    flip: bool = False
    crop: bool = False
    low_res: tuple[int, int] | None = None


PLAIN = Augmentation()  # none


def batch_at(
    source: Source, seed: int, start: int, count: int, augmentation: Augmentation = PLAIN
) -> Batch:
    """Return positions start to start + count - 1 of the endless shuffled stream of images."""
    indices = shuffle(seed, len(source), start, count)
    return with_draws(source, indices, seed, start, augmentation)


def with_draws(
    source: Source, indices: list[int], seed: int, start: int, augmentation: Augmentation = PLAIN
) -> Batch:
    """Return chosen images, with the draws of as many positions of the stream from `start` on."""
    low = augmentation.low_res and (source.shape[0], *augmentation.low_res)
    draws = draw(seed, start, len(indices), source.shape, low)
    crops = draws.crop.tolist() if augmentation.crop else None
    images, labels, condition = source.pairs(indices, crops)
    batch = Batch(images, labels, draws, condition=condition)
    if augmentation.flip:
        mirrored = torch.from_numpy(draws.flip < 0.5)[:, None, None, None]
        return batch.changed(lambda each: torch.where(mirrored, each.flip(3), each))
    return batch


def batches(
    source: Source,
    seed: int,
    batch_size: int,
    steps: range,
    devices: Devices,
    augmentation: Augmentation,
) -> Iterator[Batch]:
    """Yield this process's share of the batch of every step, on its device, in order.

    A thread prepares up to `AHEAD` batches in advance; it releases the GIL while it decodes images
    and draws noise.

    Args:
        seed: of the order of the images and of their draws.
        batch_size: of the global batch.
        steps: numbers of the optimizer steps, counted from 0.
    """
    mine = share(batch_size, devices)

    def prepare(step: int) -> Batch:
        start = step * batch_size + mine.start
        batch = batch_at(source, seed, start, len(mine), augmentation)
        return batch.pinned() if devices.device.type == "cuda" else batch

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in steps:
                waiting.append(pool.submit(prepare, step))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result().to(devices.device)
            while waiting:
                yield waiting.pop(0).result().to(devices.device)
        finally:
            for future in waiting:
                future.cancel()
