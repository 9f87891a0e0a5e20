"""a source of labelled images -> uint8 (C, H, W), label; seed, step -> which images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ORDER = [0, 0, 0, 1]  # where its stream begins, far from those of other uses of the same key


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images, wherever they lie.

    Attributes:
        name: what to call it in logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        read: index -> (C, H, W) uint8.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    read: Callable[[int], Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Read (B, C, H, W) uint8 images and their (B,) labels."""
        return torch.stack([self.read(i) for i in indices]), self.labels[list(indices)]


def shuffled(seed: int, total: int, start: int, count: int) -> list[int]:
    """Indices of the images at positions start..start + count of an endless shuffled stream.

    Each pass over the `total` images is a new permutation, a function of (seed, pass): any
    position can be reached without walking there, so resuming needs no state.

    Raises:
        ValueError: there are no images.
    """
    if total < 1:
        raise ValueError("the data holds no images")
    positions = np.arange(start, start + count)
    orders = {
        epoch: np.random.Generator(np.random.Philox(key=[seed, epoch], counter=ORDER)).permutation(
            total
        )
        for epoch in np.unique(positions // total).tolist()
    }
    return [int(orders[p // total][p % total]) for p in positions.tolist()]
