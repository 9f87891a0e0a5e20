"""Iterator[State] -> Iterator[State], in a grad mode that is not that of the consumer."""

from collections.abc import Iterator

import torch

from adm.samplers import State


@torch.inference_mode(False)
@torch.no_grad()
def without_grad(states: Iterator[State]) -> Iterator[State]:
    """Yield the same states, computed without gradients; the consumer's grad mode is unchanged."""
    yield from states


@torch.inference_mode(False)
@torch.enable_grad()
def with_grad(states: Iterator[State]) -> Iterator[State]:
    """Yield the same states, computed so that guidance can differentiate the network."""
    yield from states
