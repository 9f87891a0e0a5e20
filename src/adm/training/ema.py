"""weights, step -> their moving average."""

import torch
from torch import Tensor, nn


class EMA:
    """An exponential moving average of a network's weights, in float32.

    The decay rises as (1 + step) / (10 + step) until it reaches its final value: at 0.9999 from
    the first step, a third of the random start would be left after 10,000 steps.

    Attributes:
        weights: name -> average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().float().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step number `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach().float() for p in network.parameters()]
        for average, now in zip(self.weights.values(), current, strict=True):
            average.lerp_(now, 1 - decay)

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, average in self.weights.items():
            average.copy_(weights[name])
