"""seed, image, step -> noise: image 17 is the same alone, in a batch of 64, or on 8 devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

START = 0  # the draw that sampling starts from; levels count from 1


@dataclass(frozen=True)
class ImageNoise:
    """Standard normal noise for a batch of images, each from streams of its own.

    Philox is a counter-based generator: (seed, image) is its key and the level its counter, so
    every draw is a function of these three and is made on the CPU whatever the device.

    Attributes:
        seed: of the run.
        images: global index of each image in the batch.
        shape: (C, H, W).
        device: where the noise is wanted.
    """

    seed: int
    images: Sequence[int]
    shape: tuple[int, int, int]
    device: torch.device | str = "cpu"

    def start(self) -> Tensor:
        """(B, C, H, W) pure noise, x_T."""
        return self(START)

    def __call__(self, level: int) -> Tensor:
        """(B, C, H, W) noise for the step that leaves this level."""
        drawn = np.stack([self._draw(image, level) for image in self.images])
        return torch.as_tensor(drawn).to(self.device)

    def _draw(self, image: int, level: int) -> NDArray[np.float32]:
        key = np.array([self.seed, image], np.uint64)  # a list of such numbers may become floats
        generator = np.random.Philox(key=key, counter=[0, 0, 0, level])
        return np.random.Generator(generator).standard_normal(self.shape, dtype=np.float32)
