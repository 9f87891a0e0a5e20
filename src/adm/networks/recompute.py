"""Module -> the same Module with activation checkpointing (Chen et al. 2016).

Between the forward and the backward pass a stage stores its inputs alone; the backward pass runs it
once more. A training step takes about a third longer, and all stages but one take only the memory
of their inputs.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adm.networks.dropout import Dropout

Module = TypeVar("Module", bound=nn.Module)


class Recomputable(nn.Module):
    """A part of a network whose activations can be recomputed.

    Attributes:
        recomputes: whether they are, in training mode with gradients enabled.
    """

    recomputes = False

    def checkpointed(self, function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """function(*inputs), rerun in the backward pass if `recomputes`."""
        if not (self.recomputes and self.training and torch.is_grad_enabled()):
            return function(*inputs)
        result = checkpoint(
            function, *inputs, use_reentrant=False, preserve_rng_state=self._draws_masks()
        )
        assert isinstance(result, Tensor)
        return result

    def _draws_masks(self) -> bool:
        """Whether a dropout layer draws from torch's generator, whose state must be restored."""
        return any(m.keys is None and m.p > 0 for m in self.modules() if isinstance(m, Dropout))


def recompute(network: Module) -> Module:
    """Turn on activation checkpointing of every stage.

    This changes no number: on a CPU, gradients are the same bit for bit.

    Args:
        network: a U-Net or a classifier; modified in place.

    Returns:
        The network.
    """
    for module in network.modules():
        if isinstance(module, Recomputable):
            module.recomputes = True
    return network
