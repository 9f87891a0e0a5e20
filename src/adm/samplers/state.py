"""what a sampler yields after each step."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

from adm.diffusion import Prediction

Noise: TypeAlias = Callable[[int], Tensor]  # level -> (B, C, H, W) standard normal


class State(NamedTuple):
    """The images after a step.

    Attributes:
        x: (B, C, H, W) at `level`; the finished images when that is 0.
        level: the level reached.
        prediction: what the step was made from.
    """

    x: Tensor
    level: int
    prediction: Prediction
