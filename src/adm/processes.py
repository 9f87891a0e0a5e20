"""processes -> a group that trains one network: who takes which images, and sums over all."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from adm.networks import Stage

T = TypeVar("T")
PATIENCE_S = 60.0  # for the first answer of every process
SETTLE_S = 0.1  # for a group's threads to let go of what they hold, where Python goes on
STALL = timedelta(minutes=30)  # a save to a slow disk must not look like a death


@dataclass(frozen=True, eq=False)
class Devices:
    """This process's place among those that train together; one alone by default.

    Attributes:
        device: that this process computes on.
        rank: its number in 0..world - 1.
        world: how many processes there are.
        sharded: each holds a part of the weights (FSDP), not a copy (DDP).
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    sharded: bool = False
    _accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """The rows of a global batch that are this process's: contiguous, near equal."""
        return range(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def longest_share(self, count: int) -> int:
        """Rows of a global batch of the process that has most."""
        return -(-count // self.world)

    def spread(self, network: nn.Module) -> nn.Module:
        """Place a network on the device; what it returns averages gradients over processes."""
        network.to(self.device)
        if self.world == 1:
            return network
        if self.sharded:
            return _shard(network, self.device, self.world)
        return self._accelerator.prepare(network)

    def accumulating(self, network: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Gradients of a micro-batch stay here, unless it is the step's last."""
        if self.world == 1:
            return nullcontext()
        if self.sharded:
            network.set_requires_gradient_sync(last)  # type: ignore[operator]
            return nullcontext()
        return nullcontext() if last else self._accelerator.no_sync(network)

    def rows(self, mine: Tensor, count: int) -> Tensor:
        """(n, K) float32 of this process's share -> (count, K) of all, in global order, on CPU."""
        if self.world == 1:
            return mine.cpu()
        padded = mine.new_zeros(self.longest_share(count), mine.shape[1])
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        lengths = [len(Devices(self.device, r, self.world).share(count)) for r in range(self.world)]
        return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)]).cpu()

    def gather(self, value: Any) -> list[Any]:
        """What every process gave, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def agree(self, what: str, value: object) -> None:
        """Raise ValueError unless every process has the same value of `what`."""
        values = self.gather(value)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise ValueError(
                f"processes {odd} have another {what} than process 0; start every process with the "
                "same command, version and data"
            )

    def once(self, action: Callable[[], None]) -> None:
        """The main process acts and the others wait; its failure is everyone's."""
        self.each(lambda: action() if self.main else None)

    def each(self, action: Callable[[], T]) -> T:
        """What it gave here, once it is done in every process; one's failure is everyone's."""
        given: list[T] = []
        failure: Exception | None = None
        try:
            given.append(action())
        except Exception as error:
            failure = error
        self.share_failure(failure)
        return given[0]

    def share_failure(self, failure: Exception | None) -> None:
        """Raise the first failure of any process in every process, so that none waits for ever."""
        first = next((f for f in self.gather(failure) if f is not None), None)
        if first is not None:
            raise first


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which every process may hold a part -> all of it; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy whole `values` into a tensor of which this process may hold a part."""
    if isinstance(tensor, DTensor):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(
            values.to(tensor.device), tensor.device_mesh, list(tensor.placements)
        )
    tensor.copy_(values)


def launched() -> bool:
    """Whether torchrun, accelerate or submitit started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_this_machine() -> int:
    """How many of the processes launched together share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def join(
    device: torch.device | None, *, sharded: bool = False, patience_s: float = PATIENCE_S
) -> Devices:
    """Join the processes that were launched together, and see that all of them answer.

    Args:
        device: for a process alone; launched together, each takes the GPU of its local rank, or
            the CPU where `device` is the CPU or there is no GPU.
        sharded: spread weights, gradients and optimizer over the processes.
        patience_s: for the first answer.

    Raises:
        TimeoutError: a process does not answer.
    """
    if not launched():
        return Devices(device or torch.device("cpu"))
    # Loaded here, since a process alone has no use for it.
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    on_cpu = not torch.cuda.is_available() or (device is not None and device.type == "cpu")
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no",  # autocast belongs to the objective
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=STALL),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        ],
    )
    chosen = torch.device("cpu") if on_cpu else accelerator.device
    joined = Devices(
        chosen, accelerator.process_index, accelerator.num_processes, sharded, accelerator
    )
    self_test(joined, patience_s)
    return joined


def leave() -> None:
    """Part from the other processes, when all have done their work."""
    if dist.is_initialized():
        dist.barrier()  # none may hang up on another's last word
        dist.destroy_process_group()
        time.sleep(SETTLE_S)


def end(status: int) -> None:
    """End a process that was launched with others without taking Python down.

    A group's threads live on, closed or not, and let go of tensors when they come to it. One that
    asks for Python's lock while Python is taken down aborts the process, however well it did
    ("terminate called without an active exception"). Alone, nothing happens.
    """
    if launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def self_test(devices: Devices, patience_s: float) -> None:
    """One sum over all processes, before there is anything to lose.

    Raises:
        TimeoutError: no answer in time, or another sum.
    """
    ones = torch.ones(1, device=devices.device)
    work = dist.all_reduce(ones, async_op=True)
    deadline = time.monotonic() + patience_s
    # Polled, since waiting on NCCL's work has no time-out of its own.
    while work is not None and not work.is_completed() and time.monotonic() < deadline:
        time.sleep(0.005)
    if (work is not None and not work.is_completed()) or ones.item() != devices.world:
        raise TimeoutError(
            f"process {devices.rank} of {devices.world} had no answer from the others in "
            f"{patience_s:.0f} s; see that all of them run and that their network interface can be "
            "reached (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME, MASTER_ADDR, MASTER_PORT)"
        )


def _shard(network: nn.Module, device: torch.device, world: int) -> nn.Module:
    """Fully sharded data parallelism, a stage at a time."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world,))
    for module in network.modules():
        if isinstance(module, Stage):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)
    return network
