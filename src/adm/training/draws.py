"""Seed, position in the stream of images -> Draws: all random numbers of a training image."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

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
        return Draws(
            self.level[rows],
            self.label[rows],
            self.flip[rows],
            self.crop[rows],
            self.key[rows],
            self.scale[rows],
            self.noise[rows],
        )


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
