"""Module or batch <-> the part that this process holds (DDP, FSDP)."""

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adm.networks import Stage
from adm.processes import Devices

if TYPE_CHECKING:  # loaded where weights are sharded alone: it takes half a second
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def spread(network: nn.Module, devices: Devices, sharded: bool = False) -> nn.Module:
    """Move a network to the device, and distribute it over the processes.

    Args:
        sharded: each process holds a shard of the weights (FSDP) instead of a copy (DDP).

    Returns:
        A module that averages gradients over the processes; the network itself if there is one
        process.
    """
    network.to(devices.device)
    if devices.world == 1:
        return network
    if sharded:
        return _shard(network, devices)
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


def accumulating(runner: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Return a context in which gradients are averaged over processes only if `last`.

    Args:
        runner: a network as `spread` returned it.
        last: whether this is the last micro-batch of the step.
    """
    if is_sharded(runner):
        runner.set_requires_gradient_sync(last)
    elif isinstance(runner, DistributedDataParallel) and not last:
        return runner.no_sync()
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor that may be sharded; every process must call."""
    return tensor.full_tensor() if _is_shard(tensor) else tensor


@torch.no_grad()
def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy `values`, which are whole, into a tensor that may be sharded."""
    if _is_shard(tensor):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(
            values.to(tensor.device), tensor.device_mesh, list(tensor.placements)
        )
    tensor.copy_(values)


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


def _shard(network: nn.Module, devices: Devices) -> nn.Module:
    """Shard a network (FSDP), one stage at a time."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(devices.device.type, (devices.world,))
    for module in network.modules():
        if isinstance(module, Stage):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)
    return network


def is_sharded(runner: nn.Module) -> "TypeGuard[FSDPModule]":
    """Return whether each process holds a shard of the weights of a network."""
    module = sys.modules.get("torch.distributed.fsdp")  # without which nothing is sharded
    return module is not None and isinstance(runner, module.FSDPModule)


def _is_shard(tensor: Tensor) -> "TypeGuard[DTensor]":
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
