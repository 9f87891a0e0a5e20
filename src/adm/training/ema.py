"""Module, step -> EMA: a moving average of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

WIDEST = 12**-0.5  # of a uniform average over the whole run: gamma = 0


@dataclass(frozen=True)
class Exponential:
    """A constant decay, reached gradually: (1 + step) / (10 + step) as long as that is less.

    At 0.9999 from the first step, a third of the random start would be left after 10,000 steps.
    """

    decay: float

    @property
    def name(self) -> str:
        return f"ema-{self.decay}"

    def __call__(self, step: int) -> float:
        """The decay of optimizer step number `step`, counted from 0."""
        return min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class Power:
    """The decay of an average whose length grows with the run (Karras et al. 2024, section 3).

    The weights of time tau in [0, t] count in proportion to tau^gamma, so the average always spans
    the same share of the run, and nothing of the random start is left after the first step.

    Attributes:
        width: standard deviation of that profile in units of t, in (0, 12^-0.5 = 0.289).

    Raises:
        ValueError: the width is out of range.
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width < WIDEST:
            raise ValueError(
                f"the width of an average must be over 0 and under {WIDEST:.3f} (all of the run, "
                f"evenly), got {self.width}; 0.05 to 0.15 is usual"
            )

    @property
    def name(self) -> str:
        return f"width-{self.width}"

    @property
    def gamma(self) -> float:
        """The exponent of the profile.

        The profile's variance is width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).
        """
        precision = self.width**-2
        gamma = 1 / self.width  # beyond the largest root of a function that is convex from there
        for _ in range(60):
            value = (gamma + 2) ** 2 * (gamma + 3) - precision * (gamma + 1)
            slope = (gamma + 2) * (3 * gamma + 8) - precision
            gamma -= value / slope
        return gamma

    def __call__(self, step: int) -> float:
        """The decay of optimizer step number `step`, counted from 0."""
        return (step / (step + 1)) ** (self.gamma + 1)


Decay: TypeAlias = Exponential | Power


class EMA:
    """A moving average of a network's weights, in float32.

    Attributes:
        decay: of each step; a number stands for `Exponential`.
        name: of the average, and of its file.
        weights: name of a parameter -> its average.
    """

    def __init__(self, network: nn.Module, decay: Decay | float) -> None:
        self.decay: Decay = decay if isinstance(decay, Decay) else Exponential(decay)
        self.weights = {name: p.detach().float().clone() for name, p in network.named_parameters()}

    @property
    def name(self) -> str:
        return self.decay.name

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 0."""
        current = [p.detach().float() for p in network.parameters()]
        torch._foreach_lerp_(  # type: ignore[reportPrivateImportUsage]
            list(self.weights.values()), current, 1 - self.decay(step)
        )


def averages(
    network: nn.Module, decay: float, others: Sequence[float] = (), widths: Sequence[float] = ()
) -> tuple[EMA, ...]:
    """The averages that a run keeps; the first is the model.

    Args:
        decay: of the model's own exponential average.
        others: decays of further ones.
        widths: of power-function averages, from which any width can be made afterwards.

    Raises:
        ValueError: one is asked for twice.
    """
    asked = [*map(Exponential, (decay, *others)), *map(Power, widths)]
    names = [one.name for one in asked]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(
            f"the average {twice} is asked for twice; train.ema_decay, train.ema_others and "
            "train.ema_widths must name each once"
        )
    return tuple(EMA(network, one) for one in asked)
