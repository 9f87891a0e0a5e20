"""network -> the same network, whose stages keep their inputs and compute the rest again.

Activation checkpointing (Chen et al. 2016): between the forward and the backward pass a stage
holds what came in; the backward pass runs it once more. A step takes about a third longer, and
the memory of all stages but one is that of their inputs.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adm.networks.dropout import Dropout

Module = TypeVar("Module", bound=nn.Module)


class Recomputable(nn.Module):
    """A part of a network that can be run again.

    Attributes:
        recomputes: whether it is, in training mode and where gradients are recorded.
    """

    recomputes = False

    def keep_inputs(self, function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """function(*inputs), which may be run again for the backward pass."""
        if not (self.recomputes and self.training and torch.is_grad_enabled()):
            return function(*inputs)
        result = checkpoint(
            function, *inputs, use_reentrant=False, preserve_rng_state=self._draws_masks()
        )
        assert isinstance(result, Tensor)
        return result

    def _draws_masks(self) -> bool:
        """Whether a dropout here needs torch's generator, which must then be wound back."""
        return any(m.keys is None and m.p > 0 for m in self.modules() if isinstance(m, Dropout))


def recompute(network: Module, on: bool = True) -> Module:
    """Let every stage of a network keep its inputs alone, or again everything.

    It changes no number: gradients are those of the network as it was, bit for bit on a CPU.

    Args:
        network: a U-Net or a classifier; changed in place.

    Returns:
        The network.

    Raises:
        ValueError: the network has no stage.
    """
    stages = [module for module in network.modules() if isinstance(module, Recomputable)]
    if not stages:
        raise ValueError(
            f"{type(network).__name__} has no stage to recompute; give a UNet or a Classifier"
        )
    for stage in stages:
        stage.recomputes = on
    return network
