"""Level, draw -> Tensor: the protocol Noise; x, level, Prediction -> State."""

from typing import NamedTuple, Protocol

from torch import Tensor

from adm.diffusion import Prediction


class Noise(Protocol):
    """A source of noise: level, draw -> (B, C, H, W) standard normal.

    A sampler that needs several draws in one step numbers them from 0.
    """

    def __call__(self, level: int, draw: int = 0, /) -> Tensor: ...


class State(NamedTuple):
    """The state of sampling after a step.

    Attributes:
        x: (B, C, H, W), x_t at `level`; at level 0 the samples.
        level: the level after the step.
        prediction: the guided prediction from which the step was computed.
    """

    x: Tensor
    level: int
    prediction: Prediction

    def __repr__(self) -> str:
        return f"State(x of {tuple(self.x.shape)}, level={self.level})"
