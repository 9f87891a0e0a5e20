"""A generator without a network, whose images encode their indices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adm.generation.generator import Generator


@dataclass(frozen=True)
class Numbered(Generator):
    """A generator without a network: image i has the grey level i, of 256."""

    shape: tuple[int, int, int] = (1, 4, 4)
    input_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ("a", "b")
    seed: int = 0
    evaluations: int = 1

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        return torch.tensor([[[[i % 256] * 4] * 4] for i in indices], dtype=torch.uint8)

    def manifest(self) -> dict[str, Any]:
        return {"low": self.input_shape, "seed": self.seed}
