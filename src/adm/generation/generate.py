"""Generator, labels, indices -> uint8 images, batch by batch."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from adm.generation.blocks import whole_blocks
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.fit import check_start
from adm.generation.gan import GANGenerator
from adm.generation.generator import Cost, Generator

OURS = (DiffusionGenerator, GANGenerator)


def generate(
    generator: Generator,
    labels: Tensor | None,
    indices: Sequence[int],
    *,
    batch_size: int = 64,
    low_res: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[Tensor]:
    """Generate any number of images, batch by batch.

    Args:
        labels: (N,) int64, or None.
        indices: N global indices.
        batch_size: images of a batch, rounded up to whole blocks; affects no image.
        low_res: (N, C, h, w) uint8, the images that an upsampler starts from.
        on_step: called after every step with the network evaluations that it took.

    Yields:
        (B, C, H, W) uint8 on the CPU, in order.

    Raises:
        ValueError: `low_res` has not the shape, type or number that the generator needs; raised
            before any work.
    """
    check_low_res(generator, None if low_res is None else low_res.shape[1:])
    if low_res is not None and (len(low_res) != len(indices) or low_res.dtype != torch.uint8):
        raise ValueError(
            f"low_res is {low_res.dtype} of {len(low_res)} images, expected uint8 of {len(indices)}"
        )
    size = whole_blocks(batch_size, block_of(generator))
    for start in range(0, len(indices), size):
        part = slice(start, start + size)
        chosen = None if labels is None else labels[part]
        low = None if low_res is None else low_res[part]
        yield generator.images(chosen, indices[part], low, on_step)


def block_of(generator: Generator) -> int:
    """Return the number of images in a block of a generator; 1 for one that has no blocks."""
    return getattr(generator, "block", 1)


def cost_of(generator: Generator) -> Cost:
    """Return the calls of the networks per image of a generator."""
    return getattr(generator, "cost", None) or Cost(generator.evaluations)


def check_low_res(
    generator: Generator, got: Sequence[int] | None, maker: Generator | None = None
) -> None:
    """Raise ValueError unless the generator starts from images of shape `got`, or None.

    Args:
        maker: the generator of these images, if they are not given as images.
    """
    made_by = None if maker is None else _named(maker, "the first model")
    check_start(_named(generator, "this model"), generator.low_shape, got, made_by)


def _named(generator: Generator, otherwise: str) -> str:
    """Return the path of a generator's model."""
    return str(generator.model.path) if isinstance(generator, OURS) else otherwise
