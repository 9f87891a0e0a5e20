"""seed, index of an image, level, draw -> noise.

Image 17 is the same alone, in a batch of 64, or on 8 devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

START = 0  # the level under which the noise that sampling starts from is drawn


@dataclass(frozen=True)
class ImageNoise:
    """Standard normal noise for a batch of images, each from streams of its own.

    Philox is a counter-based generator: (seed, index) is its key and (level, draw) its counter, so
    all noise is a function of these four, and is made on the CPU whatever the device.

    Attributes:
        seed: of all images.
        indices: (B,) global index of each image in the batch.
        shape: (C, H, W).
        device: of the noise that is returned.
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, int, int]
    device: torch.device | str = "cpu"

    def start(self) -> Tensor:
        """(B, C, H, W) pure noise, x_T."""
        return self(START)

    def __call__(self, level: int, draw: int = 0, /) -> Tensor:
        """(B, C, H, W) noise for the step that leaves this level."""
        drawn = np.stack([self._normal(index, level, draw) for index in self.indices])
        return torch.as_tensor(drawn).to(self.device)

    def _normal(self, index: int, level: int, draw: int) -> NDArray[np.float32]:
        key = np.array([self.seed, index], np.uint64)  # a list of such numbers may become floats
        generator = np.random.Philox(key=key, counter=[0, 0, draw, level])
        return np.random.Generator(generator).standard_normal(self.shape, dtype=np.float32)
