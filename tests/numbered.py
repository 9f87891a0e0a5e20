"""A generator without a network, whose images encode their indices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adm.generation.generator import Cost, Generator
from adm.samplers import State

ONE_CALL = Cost(1)


@dataclass(frozen=True)
class Numbered(Generator):
    """A generator without a network: image i has the grey level i, of 256."""

    shape: tuple[int, int, int] = (1, 4, 4)
    input_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ("a", "b")
    seed: int = 0
    cost: Cost = ONE_CALL
    steps: int = 1

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        return torch.tensor([[[[i % 256] * 4] * 4] for i in indices], dtype=torch.uint8)

    def x_start(self, indices: Sequence[int], inputs: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def trajectory(
        self, labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        raise NotImplementedError

    def manifest(self) -> dict[str, Any]:
        return {"low": self.input_shape, "seed": self.seed}
