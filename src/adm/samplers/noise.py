"""Seed, index, level, draw -> (B, C, H, W) standard normal noise.

The noise of an image does not depend on the batch, the device or the number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adm.diffusion.transfer import send

START = 0  # level of the draw that sampling starts from


@dataclass(frozen=True)
class ImageNoise:
    """Standard normal noise for a batch of images, from an independent stream for each.

    Philox is a counter-based generator: (seed, index) is its key and (level, draw) its counter, so
    that noise is a function of these four. It is generated on the CPU for any device.

    Attributes:
        seed: random seed of all images.
        indices: (B,) global index of each image in the batch.
        shape: (C, H, W), or that of another tensor of each image.
        device: device of the returned noise.
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]
    device: torch.device | str = "cpu"

    def start(self) -> Tensor:
        """(B, C, H, W) pure noise, x_T."""
        return self(START)

    def __call__(self, level: int, draw: int = 0, /) -> Tensor:
        """(B, C, H, W) noise for the step that leaves this level."""
        drawn = np.stack([self._normal(index, level, draw) for index in self.indices])
        return send(torch.as_tensor(drawn), self.device)

    def _normal(self, index: int, level: int, draw: int) -> NDArray[np.float32]:
        key = np.array(
            [self.seed, index], np.uint64
        )  # np.array of large Python ints may be float64
        generator = np.random.Philox(key=key, counter=[0, 0, draw, level])
        return np.random.Generator(generator).standard_normal(self.shape, dtype=np.float32)
