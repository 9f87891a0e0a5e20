"""Module or batch <-> the part that this process holds (DDP)."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adm.processes import Devices


def spread(network: nn.Module, devices: Devices) -> nn.Module:
    """Move a network to the device, and distribute it over the processes.

    Returns:
        A module that averages gradients over the processes; the network itself if there is one
        process.
    """
    network.to(devices.device)
    if devices.world == 1:
        return network
    for each in network.parameters():
        if 1 in each.shape:
            each.register_hook(partial(as_laid_out, strides=each.stride()))
    ids = None if devices.device.type == "cpu" else [devices.device]
    return DistributedDataParallel(network, device_ids=ids, gradient_as_bucket_view=True)


def as_laid_out(gradient: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Return a gradient with the strides of its parameter, where the memory is the same.

    Dimensions of one entry may have any stride. That of the gradient of a convolution depends on
    the layout of its input, and DDP warns of strides other than the parameter's.
    """
    pairs = zip(gradient.shape, gradient.stride(), strides, strict=True)
    same = all(size == 1 or actual == expected for size, actual, expected in pairs)
    return gradient.as_strided(gradient.shape, strides) if same else gradient


def gradient_sync(runner: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Return a context in which gradients are averaged over processes only if `last`.

    Args:
        runner: a network as `spread` returned it.
        last: whether this is the last micro-batch of the step.
    """
    if isinstance(runner, DistributedDataParallel) and not last:
        return runner.no_sync()
    return nullcontext()


def share(count: int, devices: Devices) -> range:
    """Return this process's rows of a global batch: contiguous, of nearly equal number."""
    return _share(count, devices.rank, devices.world)


def longest_share(count: int, devices: Devices) -> int:
    """Return the largest number of rows of a global batch that a process has."""
    return -(-count // devices.world)


def rows(mine: Tensor, count: int, devices: Devices) -> Tensor:
    """Gather (n, K) float32 rows of every process into (count, K), in global order, on the CPU."""
    if devices.world == 1:
        return mine.cpu()
    padded = mine.new_zeros(longest_share(count, devices), mine.shape[1])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in range(devices.world)]
    dist.all_gather(parts, padded)
    lengths = [len(_share(count, rank, devices.world)) for rank in range(devices.world)]
    return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)]).cpu()


def _share(count: int, rank: int, world: int) -> range:
    return range(count * rank // world, count * (rank + 1) // world)
