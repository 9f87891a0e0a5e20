"""Labels, indices -> uint8 images of a trained model, computed in blocks of fixed size.

Kernels round differently in batches of different sizes. So that an image depends on nothing but
its own inputs, it is always computed at the same place of a batch of the same size: image i at
place i mod n of n, whatever other images are requested.
"""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from adm.generation.generator import Generator, OnStep
from adm.images import ROUNDING
from adm.models.trained import DiffusionModel
from adm.samplers import Sampling

LARGEST = 64
CPU_PIXELS, ACCELERATOR_PIXELS = 1 << 14, 1 << 19  # of a block


class Block(NamedTuple):
    """Images that are computed together.

    Attributes:
        positions: of the images, in the sequence that was divided.
        places: of the same images, in the block.
        filled: a position for each place of the block; a place whose image is not requested
            repeats the first image.
    """

    positions: list[int]
    places: list[int]
    filled: list[int]


def block_size(shape: Sequence[int], device: torch.device) -> int:
    """Return the number of images in a block: a power of two, from 1 to `LARGEST`.

    Args:
        shape: (C, H, W) of the images.
    """
    pixels = CPU_PIXELS if device.type == "cpu" else ACCELERATOR_PIXELS
    fitting = max(1, pixels // (shape[1] * shape[2]))
    return min(LARGEST, 1 << (fitting.bit_length() - 1))


def blocks(indices: Sequence[int], size: int) -> Iterator[Block]:
    """Divide images into blocks, in the order of their first images.

    Args:
        indices: global indices; an index that occurs twice, such as with two labels, is in two
            blocks.
        size: of a block.
    """
    seen: Counter[int] = Counter()
    together: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for position, index in enumerate(indices):
        together[index // size, seen[index]].append(position)
        seen[index] += 1
    for positions in together.values():
        places = [indices[position] % size for position in positions]
        filled = [positions[0]] * size
        for place, position in zip(places, positions, strict=True):
            filled[place] = position
        yield Block(positions, places, filled)


class ModelGenerator(Generator):
    """A trained model with its settings of sampling.

    Attributes:
        model: the network and its recipe.
        sampling: everything besides the models that the images depend on.
    """

    model: DiffusionModel
    sampling: Sampling

    @property
    def name(self) -> str:
        """The path of the model."""
        return str(self.model.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.model.shape

    @property
    def seed(self) -> int:
        return self.sampling.seed

    @property
    def block(self) -> int:
        return block_size(self.shape, self.model.device)

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Generate any number of images: (N, C, H, W) uint8 on the CPU.

        They are computed in blocks, so that an image depends on no other one: neither on their
        number nor on their order.

        Raises:
            FloatingPointError: a step gave NaN or infinity.
        """
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for block in blocks(indices, self.block):

            def step(evaluations: int, count: int = len(block.positions)) -> None:
                if on_step is not None:
                    on_step(count * evaluations)

            x = self.compute(
                None if labels is None else labels[block.filled],
                [indices[position] for position in block.filled],
                None if inputs is None else inputs[block.filled],
                step,
            )
            images[block.positions] = ROUNDING[self.sampling.rounding](x[block.places]).cpu()
        return images

    @abstractmethod
    def compute(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None,
        on_step: OnStep,
    ) -> Tensor:
        """Generate the images of a block: (B, C, H, W) in [-1, 1] on the model's device.

        Args:
            labels, indices, inputs: as those of `images`.
            on_step: called after every step with the network evaluations of one image.
        """
        ...
