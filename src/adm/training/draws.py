"""Seed, position in the stream of images -> Draws: all random numbers of a training image."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LATER = [0, 0, 0, 1]  # where the second stream of a key begins, out of reach of the first


class Draws(NamedTuple):
    """Random numbers for a batch; row i belongs to the i-th image of the global stream asked for.

    Attributes:
        level: (B,) float64 uniform in [0, 1), from which the noise level is chosen.
        label: (B,) float64 uniform, whether the label is dropped.
        flip: (B,) float64 uniform, whether the image is mirrored.
        crop: (B, 3) float64 uniform, the size and the place of a random crop.
        key: (B,) int64, from which the dropout of every layer is made.
        noise: (B, C, H, W) float32 standard normal.
    """

    level: np.ndarray
    label: np.ndarray
    flip: np.ndarray
    crop: np.ndarray
    key: Tensor
    noise: Tensor

    def part(self, start: int, stop: int) -> "Draws":
        """Rows start..stop."""
        rows = slice(start, stop)
        return Draws(
            self.level[rows],
            self.label[rows],
            self.flip[rows],
            self.crop[rows],
            self.key[rows],
            self.noise[rows],
        )


def draw(seed: int, start: int, count: int, shape: tuple[int, int, int]) -> Draws:
    """Draw for positions start..start + count of the endless stream of training images.

    Philox is keyed by (seed, position), so that a batch holds the same numbers however it is cut
    into micro-batches, spread over devices, or reached by resuming.
    """
    uniforms, crops, keys, noises = [], [], [], []
    for position in range(start, start + count):
        of = np.array([seed, position], np.uint64)  # a list of such numbers may become floats
        generator = np.random.Generator(np.random.Philox(key=of))
        uniforms.append(generator.random(3))
        noises.append(generator.standard_normal(shape, dtype=np.float32))
        later = np.random.Generator(np.random.Philox(key=of, counter=LATER))
        crops.append(later.random(3))
        keys.append(later.integers(2**63, dtype=np.int64))
    level, label, flip = np.stack(uniforms).T
    key, noise = torch.from_numpy(np.stack(keys)), torch.from_numpy(np.stack(noises))
    return Draws(level, label, flip, np.stack(crops), key, noise)
