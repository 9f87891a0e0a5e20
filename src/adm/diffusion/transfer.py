"""Tensor on the CPU -> Tensor on a device, for which nobody waits."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Copy a tensor from the CPU to a device, without waiting for what the device still computes.

    A plain `to` would wait for it: the memory that it reads from could change meanwhile. So on CUDA
    the copy is made from page-locked memory, of which torch keeps count. Elsewhere torch has none.

    Args:
        dtype: of the result; None for that of the tensor. It is converted on the CPU, for not all
            devices have float64.
    """
    tensor = tensor if dtype is None else tensor.to(dtype)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
