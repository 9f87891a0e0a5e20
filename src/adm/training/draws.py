"""seed, position -> every random number that one training image needs."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Draws(NamedTuple):
    """Random numbers for a batch; row i belongs to the i-th image of the global stream asked for.

    Attributes:
        level: (B,) float64 uniform in [0, 1), from which the noise level is chosen.
        label: (B,) float64 uniform, whether the label is dropped.
        flip: (B,) float64 uniform, whether the image is mirrored.
        noise: (B, C, H, W) float32 standard normal.
    """

    level: np.ndarray
    label: np.ndarray
    flip: np.ndarray
    noise: Tensor


def dropout_seed(seed: int, step: int) -> int:
    """What torch's generator starts from at a step; unlike seed + step, no two runs share it."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def draw(seed: int, start: int, count: int, shape: tuple[int, int, int]) -> Draws:
    """Draw for positions start..start + count of the endless stream of training images.

    Philox is keyed by (seed, position), so that a batch holds the same numbers however it is cut
    into micro-batches, spread over devices, or reached by resuming.
    """
    uniforms, noises = [], []
    for position in range(start, start + count):
        generator = np.random.Generator(np.random.Philox(key=[seed, position]))
        uniforms.append(generator.random(3))
        noises.append(generator.standard_normal(shape, dtype=np.float32))
    level, label, flip = np.stack(uniforms).T
    return Draws(level, label, flip, torch.from_numpy(np.stack(noises)))
