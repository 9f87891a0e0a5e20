"""Module, features -> whether speed is preferred over the released order of operations."""

import torch
from torch import Tensor, nn


def prefers_speed(module: nn.Module, x: Tensor) -> bool:
    """Whether to prefer speed over the released order of operations.

    False in evaluation mode in float32, where the released numbers are reproduced.
    """
    if x.is_meta:  # only shapes are computed
        return False
    halved = x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type)
    return module.training or halved
