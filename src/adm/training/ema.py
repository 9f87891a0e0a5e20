"""Module, step -> EMA: a moving average of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from adm.spec import SettingError

WIDEST = 12**-0.5  # width of the uniform average over the whole run, gamma = 0


@dataclass(frozen=True)
class Exponential:
    """An exponential average, whose decay is min(decay, (1 + step) / (10 + step)).

    Without the rise, a decay of 0.9999 would still give the random initial weights a share of a
    third after 10,000 steps.
    """

    decay: float

    @property
    def name(self) -> str:
        return f"ema-{self.decay}"

    def __call__(self, step: int) -> float:
        """Return the decay at optimizer step number `step`, counted from 0."""
        return min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class Power:
    """A power-function average, whose length grows with the run (Karras et al. 2024, section 3).

    At time t, the weights of time tau in [0, t] have a share proportional to tau^gamma, so that the
    average spans a constant fraction of the run, and the random initial weights have no share after
    the first step.

    Attributes:
        width: standard deviation of that profile in units of t, in (0, 12^-0.5 = 0.289).

    Raises:
        SettingError: the width is out of range.
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width < WIDEST:
            cure = "choose one such as 0.05 to 0.15"
            raise SettingError("width", f"in (0, {WIDEST:.3f})", self.width, cure)

    @property
    def name(self) -> str:
        return f"width-{self.width}"

    @property
    def gamma(self) -> float:
        """Return the exponent of the profile.

        It solves width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), the profile's variance, by
        Newton's method.
        """
        precision = self.width**-2
        gamma = 1 / self.width  # above the largest root, where the function is convex
        for _ in range(60):
            value = (gamma + 2) ** 2 * (gamma + 3) - precision * (gamma + 1)
            slope = (gamma + 2) * (3 * gamma + 8) - precision
            gamma -= value / slope
        return gamma

    def __call__(self, step: int) -> float:
        """Return the decay at optimizer step number `step`, counted from 0."""
        return (step / (step + 1)) ** (self.gamma + 1)


Decay: TypeAlias = Exponential | Power


class EMA:
    """A moving average of a network's weights, in float32.

    Attributes:
        decay: the decay of each step; a number stands for `Exponential`.
        name: the name of the average and of its file.
        weights: the average of each parameter, by name.
    """

    def __init__(self, network: nn.Module, decay: Decay | float) -> None:
        self.decay: Decay = decay if isinstance(decay, Decay) else Exponential(decay)
        self.weights = {name: p.detach().float().clone() for name, p in network.named_parameters()}

    @property
    def name(self) -> str:
        return self.decay.name

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after optimizer step number `step`, counted from 0."""
        current = [p.detach().float() for p in network.parameters()]
        torch._foreach_lerp_(  # type: ignore[reportPrivateImportUsage]
            list(self.weights.values()), current, 1 - self.decay(step)
        )


def averages(
    network: nn.Module, decay: float, others: Sequence[float] = (), widths: Sequence[float] = ()
) -> tuple[EMA, ...]:
    """Return the averages that a run tracks; the first one is the model.

    Args:
        decay: decay of the exponential average that is the model.
        others: decays of further exponential averages.
        widths: widths of power-function averages, from which `posthoc` reconstructs any width.

    Raises:
        SettingError: two averages are the same.
    """
    decays = [*map(Exponential, (decay, *others)), *map(Power, widths)]
    names = [one.name for one in decays]
    if twice := next((name for name in names if names.count(name) > 1), None):
        field = f"train.{'ema_widths' if twice.startswith('width') else 'ema_others'}"
        raise SettingError(field, "averages that differ", cure=f"leave one {twice} out")
    return tuple(EMA(network, one) for one in decays)
