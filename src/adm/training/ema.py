"""Module, step -> EMA: an exponential moving average of its weights."""

from collections.abc import Sequence

import torch
from torch import nn

from adm.spec import SettingError


class EMA:
    """An exponential moving average of a network's weights, in float32.

    Attributes:
        decay: the largest decay of a step; see `decay_at`.
        weights: the average of each parameter, by name.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().float().clone() for name, p in network.named_parameters()}

    @property
    def name(self) -> str:
        """The name of the average and of its file."""
        return f"ema-{self.decay}"

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after optimizer step number `step`, counted from 0."""
        current = [p.detach().float() for p in network.parameters()]
        torch._foreach_lerp_(  # type: ignore[reportPrivateImportUsage]
            list(self.weights.values()), current, 1 - decay_at(step, self.decay)
        )


def decay_at(step: int, decay: float) -> float:
    """Return the decay at optimizer step number `step`, counted from 0: it rises to `decay`.

    Without the rise, a decay of 0.9999 would still give the random initial weights a share of a
    third after 10,000 steps.
    """
    return min(decay, (1 + step) / (10 + step))


def averages(network: nn.Module, decay: float, others: Sequence[float] = ()) -> tuple[EMA, ...]:
    """Return the averages that a run tracks; the first one is the model.

    Args:
        decay: of the average that is the model.
        others: decays of further averages.

    Raises:
        SettingError: two averages are the same.
    """
    decays = (decay, *others)
    if twice := next((one for one in decays if decays.count(one) > 1), None):
        sentence = f"two averages have the decay {twice:g}; leave one of them out of {{}}"
        raise SettingError("train.ema_others", sentence)
    return tuple(EMA(network, one) for one in decays)
