"""Source, seed, steps -> iterator of Batch: this process's images and their random numbers."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.data import Source, shuffle
from adm.processes import Devices
from adm.training.spread import share

AHEAD = 3  # batches prepared in advance
LATER = [0, 0, 0, 1]  # counter of the second stream of a key, 2^192 blocks after the first


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
    """

    level: np.ndarray
    label: np.ndarray
    flip: np.ndarray
    crop: np.ndarray
    key: Tensor
    scale: np.ndarray
    noise: Tensor

    def part(self, start: int, stop: int, step: int = 1) -> "Draws":
        """Return rows start to stop - 1, every `step`-th of them."""
        rows = slice(start, stop, step)
        return Draws._make(each[rows] for each in self)


def draw(seed: int, start: int, count: int, shape: tuple[int, int, int]) -> Draws:
    """Draw for positions start to start + count - 1 of the endless stream of training images.

    Philox (Salmon et al. 2011) is keyed by (seed, position), so that the numbers do not depend on
    micro-batches, on the number of processes, or on where a run was resumed.

    Args:
        shape: (C, H, W) of the noise of one image.
    """
    uniforms, crops, keys, scales, noises = [], [], [], [], []
    for position in range(start, start + count):
        of = np.array([seed, position], np.uint64)  # NumPy may convert a list to floats
        generator = np.random.Generator(np.random.Philox(key=of))
        uniforms.append(generator.random(3))
        noises.append(generator.standard_normal(shape, dtype=np.float32))
        later = np.random.Generator(np.random.Philox(key=of, counter=LATER))
        crops.append(later.random(3))
        keys.append(later.integers(2**63, dtype=np.int64))
        scales.append(later.random())
    level, label, flip = np.stack(uniforms).T
    key, noise = torch.from_numpy(np.stack(keys)), torch.from_numpy(np.stack(noises))
    return Draws(level, label, flip, np.stack(crops), key, np.stack(scales), noise)


class Batch(NamedTuple):
    """Images, labels, and the random draws that training them takes."""

    images: Tensor  # (B, C, H, W) uint8
    labels: Tensor  # (B,) int64
    draws: Draws

    @property
    def size(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int, step: int = 1) -> "Batch":
        """Return rows start to stop - 1, every `step`-th of them."""
        rows = slice(start, stop, step)
        return Batch(self.images[rows], self.labels[rows], self.draws.part(start, stop, step))

    def to(self, device: torch.device) -> "Batch":
        """Copy all tensors to a device; the uniform draws stay on the CPU, in NumPy."""
        draws = self.draws._replace(
            noise=self.draws.noise.to(device, non_blocking=True),
            key=self.draws.key.to(device, non_blocking=True),
        )
        images = self.images.to(device, non_blocking=True)
        return Batch(images, self.labels.to(device, non_blocking=True), draws)

    def pinned(self) -> "Batch":
        """Copy all tensors to page-locked memory, from which `to` copies without blocking."""
        draws = self.draws._replace(
            noise=self.draws.noise.pin_memory(), key=self.draws.key.pin_memory()
        )
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), draws)


class Augmentation(NamedTuple):
    """Which random augmentations are applied: mirroring, random crops."""

    flip: bool = False
    crop: bool = False


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
    draws = draw(seed, start, len(indices), source.shape)
    crops = draws.crop.tolist() if augmentation.crop else None
    images, labels = source.batch(indices, crops)
    if augmentation.flip:
        mirrored = torch.from_numpy(draws.flip < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return Batch(images, labels, draws)


def blank(count: int, shape: tuple[int, int, int]) -> Batch:
    """Return black images (C, H, W) of class 0, with the draws of the stream's first positions."""
    images = torch.zeros(count, *shape, dtype=torch.uint8)
    return Batch(images, torch.zeros(count, dtype=torch.int64), draw(0, 0, count, shape))


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

    def made(step: int) -> Batch:
        start = step * batch_size + mine.start
        batch = batch_at(source, seed, start, len(mine), augmentation)
        return batch.pinned() if devices.device.type == "cuda" else batch

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in steps:
                waiting.append(pool.submit(made, step))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result().to(devices.device)
            while waiting:
                yield waiting.pop(0).result().to(devices.device)
        finally:
            for future in waiting:
                future.cancel()
