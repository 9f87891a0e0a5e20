"""What a sampler draws from, and what it yields: Noise, State."""

from typing import NamedTuple, Protocol

from torch import Tensor

from adm.diffusion import Prediction


class Noise(Protocol):
    """A source of noise: level, draw -> (B, C, H, W) standard normal.

    A sampler that needs several draws in one step numbers them from 0.
    """

    def __call__(self, level: int, draw: int = 0, /) -> Tensor: ...


class State(NamedTuple):
    """The images after a step.

    Attributes:
        x: (B, C, H, W) at `level`; the finished images where that is 0.
        level: the level reached.
        prediction: what the step was made from, after guidance.
    """

    x: Tensor
    level: int
    prediction: Prediction
