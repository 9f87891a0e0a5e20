"""Indices -> Iterator[Block], the images that are computed together, of fixed size.

Kernels round differently in batches of different sizes. So that an image depends on nothing but
its own inputs, it is always computed at the same place of a batch of the same size: image i at
place i mod n of n, whatever other images are requested.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

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
